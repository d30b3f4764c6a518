//! Comma-separated values as RFC 4180 has them: quotes around what holds a comma, a line break or a quote, which is doubled within.

/// A row and the line that it begins on, from one.
pub type Row = (usize, Vec<String>);

/// The rows of a text; an empty line is none.
///
/// # Errors
/// The line on which a quote is opened and not closed, or something follows a closed one.
pub fn rows(text: &str) -> Result<Vec<Row>, usize> {
    let mut rows = Vec::new();
    let (mut line, mut letters) = (1, text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable());
    while letters.peek().is_some() {
        let (begun, mut row) = (line, Vec::new());
        loop {
            let mut field = String::new();
            let quoted = letters.next_if_eq(&'"').is_some();
            if quoted {
                loop {
                    match letters.next().ok_or(begun)? {
                        '"' if letters.next_if_eq(&'"').is_some() => field.push('"'),
                        '"' => break,
                        letter => {
                            line += usize::from(letter == '\n');
                            field.push(letter);
                        }
                    }
                }
            } else {
                while let Some(letter) = letters.next_if(|letter| !matches!(letter, ',' | '\n' | '\r')) {
                    field.push(letter);
                }
            }
            row.push(field);
            match letters.next() {
                Some(',') => {}
                Some('\r') if letters.next_if_eq(&'\n').is_some() => break,
                Some('\n' | '\r') | None => break,
                Some(_) => return Err(line),
            }
        }
        line += 1;
        if row.iter().any(|field| !field.is_empty()) {
            rows.push((begun, row));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<Vec<String>> {
        rows(text).unwrap().into_iter().map(|(_, row)| row).collect()
    }

    #[test]
    fn rows_are_read_as_spreadsheets_write_them() {
        assert_eq!(read("a,b\nc,d\n"), [["a", "b"], ["c", "d"]]);
        assert_eq!(read("\u{feff}a,b\r\n\r\nc,\r\n"), [["a", "b"], ["c", ""]]);
        assert_eq!(read("\"a, b\",\"say \"\"hi\"\"\",\"two\nlines\""), [["a, b", "say \"hi\"", "two\nlines"]]);
        assert_eq!(read(""), Vec::<Vec<String>>::new());
        let numbers: Vec<usize> = rows("a\n\"b\nc\"\nd").unwrap().into_iter().map(|(line, _)| line).collect();
        assert_eq!(numbers, [1, 2, 4]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_an_error_with_its_line() {
        assert_eq!(rows("a\n\"b"), Err(2));
        assert_eq!(rows("\"a\"b"), Err(1));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(table in prop::collection::vec(prop::collection::vec("[a,\"\r\n가 ]{0,6}", 1..4), 0..5)) {
            let line = |row: &Vec<String>| {
                let quoted: Vec<String> = row.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
                quoted.join(",")
            };
            let text: Vec<String> = table.iter().map(line).collect();
            let kept: Vec<_> = table.into_iter().filter(|row| row.iter().any(|field| !field.is_empty())).collect();
            prop_assert_eq!(read(&text.join("\n")), kept);
        }

        #[test]
        fn nothing_makes_it_panic(text in ".{0,60}") {
            let _read_or_not = rows(&text);
        }
    }
}
