//! Random choices that are the same everywhere for the same seed, and changes of bytes.

/// SplitMix64: quick in an unoptimised build, and no library's next version changes what a seed means.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// One time in `count`.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// No input is longer; what is larger is refused by limits that other tests hold.
const LONGEST: usize = 4_096;

/// Changes `input` in one to four places. `words` mean something to the reader; `other` is another input.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    for _ in 0..=random.below(4) {
        once(input, other, words, random);
    }
    input.truncate(LONGEST);
}

fn once(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(16)).min(input.len());
    match random.below(11) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => input.insert(at, random.next() as u8),
        3 | 4 => drop(input.splice(at..at, random.of(words).iter().copied())),
        5 if at < end => drop(input.splice(at..end, random.of(words).iter().copied())),
        6 if at < end => drop(input.drain(at..end)),
        7 if at < end => {
            let part = input[at..end].to_vec();
            let times = if random.one_in(20) { 200 } else { 1 + random.below(3) };
            input.splice(at..at, part.repeat(times));
        }
        8 if !other.is_empty() => {
            let from = random.below(other.len());
            let to = (from + 1 + random.below(64)).min(other.len());
            input.splice(at..end.max(at), other[from..to].iter().copied());
        }
        9 if !other.is_empty() => {
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len())..]);
        }
        10 => input.truncate(at),
        _ => {}
    }
}
