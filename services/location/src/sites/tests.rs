use super::*;

const CSV: &str = "id,name,kind,lat,lng,address,hours,tags\n\
                   s1,건전지 수거함,battery,37.5665,126.978,\"서울, 중구\",1-5 09:00-18:00,battery|lamp\n\
                   s2,종이팩 수거함,paperpack,37.57,126.98,,,\n";

#[test]
fn both_forms_say_the_same() {
    let json = r#"[{"id":"s1","name":"건전지 수거함","kind":"battery","lat":37.5665,"lng":126.978,"address":"서울, 중구",
                    "hours":"1-5 09:00-18:00","tags":["battery","lamp"]},
                   {"id":"s2","name":"종이팩 수거함","kind":"paperpack","lat":37.57,"lng":126.98}]"#;
    let sites = read(CSV).unwrap();
    assert_eq!(sites, read(json).unwrap());
    assert_eq!((sites[0].address.as_str(), sites[0].tags.len(), sites[1].tags.len()), ("서울, 중구", 2, 0));
    assert!(read("id,name,kind,lat,lng\n").unwrap().is_empty() && read("[]").unwrap().is_empty());
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let bad = "id,name,kind,lat,lng,hours,tags\n\
               ,a,b,1,1,,\n\
               s,a,b,91,1,,\n\
               t,a,b,86,1,,\n\
               u,a,b,x,1,,\n\
               v,a,b,1,1,always,\n\
               w,a,b,1,1,,\n\
               w,a,b,1,1,,\n\
               x,a\n";
    let faults = read(bad).unwrap_err();
    let lines: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    assert_eq!(lines, ["line 9", "line 2", "line 3", "line 4", "line 5", "line 6", "line 8"], "{faults:?}");
    for (bad, told) in [
        ("", "empty"),
        ("id,place\n", "no column \"place\""),
        ("id,name\n\"a", "line 2"),
        ("[{]", "key must be"),
        (r#"[{"id":"s","name":"a","kind":"b","lat":"1","lng":1}]"#, "site 1"),
        (r#"[{"id":"s","name":"a","kind":"b","lat":1,"lng":1,"colour":"red"}]"#, "colour"),
        (r#"[{"id":"s","name":"a\u0000","kind":"b","lat":1,"lng":1}]"#, "no letter"),
        (r#"[{"id":"s","name":"a","kind":"b","lat":1,"lng":1,"tags":["a|b"]}]"#, "tag"),
    ] {
        let faults = read(bad).unwrap_err();
        assert!(faults[0].contains(told), "{bad}: {faults:?}");
    }
}
