//! The fields of a message, off its `Debug` text: the one form that every generated message has.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Path of every leaf → its value: numbers and booleans as they stand, bytes and text as `hex-…`, ids as `uuid-…`,
/// `null`, and `[]` for empty lists. Elements of lists have their number in their path.
pub(crate) fn fields(debug: &str) -> BTreeMap<String, String> {
    let mut reader = Reader {
        text: debug.as_bytes(),
        at: 0,
        found: BTreeMap::new(),
    };
    reader.value("");
    assert_eq!(reader.at, reader.text.len(), "all of {debug}");
    reader.found
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    found: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// Passes over `expected` when it is next.
    fn eat(&mut self, expected: &str) -> bool {
        let eaten = self.text[self.at..].starts_with(expected.as_bytes());
        self.at += if eaten { expected.len() } else { 0 };
        eaten
    }

    fn word(&mut self) -> String {
        let rest = &self.text[self.at..];
        let end = rest
            .iter()
            .position(|b| !(b.is_ascii_alphanumeric() || b"_#-+.".contains(b)))
            .unwrap_or(rest.len());
        self.at += end;
        String::from_utf8_lossy(&rest[..end]).into_owned()
    }

    fn leaf(&mut self, path: &str, value: String) {
        self.found.insert(path.to_owned(), value);
    }

    fn value(&mut self, path: &str) {
        if self.eat("b\"") {
            let bytes = self.bytes();
            return self.leaf(path, bytes);
        }
        if self.eat("[") {
            return self.list(path);
        }
        let word = self.word();
        if self.eat("(") {
            // `Some` and newtypes are their content.
            self.value(path);
            assert!(self.eat(")"), "the end of {word}");
        } else if self.eat(" { ") {
            self.message(path, &word);
        } else if word == "None" {
            self.leaf(path, "null".to_owned());
        } else if word.len() == 36 && word.matches('-').count() == 4 {
            self.leaf(path, format!("uuid-{}", word.replace('-', "")));
        } else {
            self.leaf(path, word);
        }
    }

    fn list(&mut self, path: &str) {
        if self.eat("]") {
            return self.leaf(path, "[]".to_owned());
        }
        for n in 0.. {
            self.value(&format!("{path}.{n}"));
            if !self.eat(", ") {
                break;
            }
        }
        assert!(self.eat("]"), "the end of {path}");
    }

    fn message(&mut self, path: &str, name: &str) {
        loop {
            let field = self.word();
            assert!(self.eat(": "), "a value of {path}.{field}");
            // A string is a message of one field.
            let inside = match (name, path) {
                ("KafkaString", _) => path.to_owned(),
                (_, "") => field,
                _ => format!("{path}.{field}"),
            };
            self.value(&inside);
            if !self.eat(", ") {
                break;
            }
        }
        assert!(self.eat(" }"), "the end of {name}");
    }

    /// The rest of a byte string, as hex.
    fn bytes(&mut self) -> String {
        let mut hex = "hex-".to_owned();
        while !self.eat("\"") {
            let byte = if self.eat("\\x") {
                self.at += 2;
                let digits = std::str::from_utf8(&self.text[self.at - 2..self.at]);
                u8::from_str_radix(digits.expect("two digits"), 16).expect("two digits")
            } else if self.eat("\\") {
                self.at += 1;
                match self.text[self.at - 1] {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'0' => 0,
                    other => other,
                }
            } else {
                self.at += 1;
                self.text[self.at - 1]
            };
            write!(hex, "{byte:02x}").expect("a string takes text");
        }
        hex
    }
}

#[test]
fn every_kind_of_value_is_found() {
    #[derive(Debug)]
    #[allow(dead_code, reason = "looked at through Debug")]
    struct Outer {
        number: i64,
        list: Vec<Inner>,
        none: Option<i8>,
        empty: Vec<u8>,
    }
    #[derive(Debug)]
    #[allow(dead_code, reason = "looked at through Debug")]
    struct Inner {
        raw: Option<bytes::Bytes>,
        text: tidemark_wire::KafkaString,
        id: tidemark_wire::KafkaUuid,
    }
    let inner = || Inner {
        raw: Some(bytes::Bytes::from_static(b"\"\\\0\n\xff}")),
        text: tidemark_wire::KafkaString::from_static("a, b"),
        id: tidemark_wire::KafkaUuid::from_parts(1, 2),
    };
    let outer = Outer {
        number: -7,
        list: vec![inner(), inner()],
        none: None,
        empty: vec![],
    };
    let found = fields(&format!("{outer:?}"));
    let expected = [
        ("empty", "[]"),
        ("list.1.id", "uuid-00000000000000010000000000000002"),
        ("list.1.raw", "hex-225c000aff7d"),
        ("list.1.text", "hex-612c2062"),
        ("none", "null"),
        ("number", "-7"),
    ];
    for (path, value) in expected {
        assert_eq!(found[path], value);
    }
    assert_eq!(found.len(), 9);
}
