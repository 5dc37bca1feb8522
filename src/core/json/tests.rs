use super::*;

/// Reads an object that a test has written out.
pub(crate) fn object(value: &serde_json::Value) -> Object {
    parse_object(value.to_string()).unwrap()
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for (text, good) in [
        (&br#"{"a":1,"b":{"a":2}}"#[..], true),
        (br#" {"a":[1,{"b":null}]} "#, true),
        (br#"{"a":1,"a":1}"#, false),
        (br#"{"a":{"b":1,"b":2}}"#, false),
        (br#"{"a":[{"b":1,"b":2}]}"#, false),
        (br#"{"sub":"a","\u0073ub":"b"}"#, false),
        (br#"{"\u0073ub":"a","sub":"b"}"#, false),
        (br#"{"a":1}x"#, false),
        (br#"{"a":1,}"#, false),
        (br#"{'a':1}"#, false),
        (br#"{"a":NaN}"#, false),
        (br#"{"a":01}"#, false),
        (b"\xef\xbb\xbf{}", false),
        (b"{\"a\":\"\xff\"}", false),
        (br#"{"a":"\ud800"}"#, false),
        (b"[]", false),
        (b"null", false),
        (b"", false),
    ] {
        let text_shown = String::from_utf8_lossy(text);
        assert_eq!(parse_object(text).is_ok(), good, "{text_shown}");
    }
}

#[test]
fn numbers_keep_their_digits() {
    for digits in ["9007199254740993", "1.50", "1e3", "-0", "123456789012345678901234567890"] {
        let object = parse_object(format!(r#"{{"n":{digits}}}"#).as_bytes()).unwrap();
        let kept = object.get("n").unwrap().to_string();
        assert_eq!(kept.replace("e+", "e"), digits);
    }
}

#[test]
fn the_name_numbers_travel_under_opens_no_door() {
    for (text, good) in [
        (r#"{"n":{"$serde_json::private::Number":"1"}}"#, true),
        (r#"{"n":{"$serde_json::private::Number":"x"}}"#, false),
        (r#"{"n":{"$serde_json::private::Number":"1","a":2}}"#, false),
        (r#"{"n":{"a":2,"$serde_json::private::Number":"1"}}"#, false),
        (r#"{"n":{"$serde_json::private::Number":1}}"#, false),
        (r#"{"n":{"$serde_json::private::Number":" 1"}}"#, false),
        (r#"{"n":{"$serde_json::private::Number":"\u0078"}}"#, false),
        (r#"{"n":{"\u0024serde_json::private::Number":"x"}}"#, false),
        (r#"{"n":{"\u0024serde_json::private::Number":"1\u0030"}}"#, true),
        (r#"{"$serde_json::private::Number":"1"}"#, false),
    ] {
        assert_eq!(parse_object(text.as_bytes()).is_ok(), good, "{text}");
    }
}

#[test]
fn a_name_that_comes_twice_is_found_among_few_and_among_many() {
    let name = |place: usize| format!("name{:05}", place * 7919 % 10_007); // in no order
    for count in [1, 2, 15, 16, 17, 18, 100, 3000] {
        let members = |names: &[String]| names.join(r#"":[{}],""#);
        let names: Vec<_> = (0..count).map(name).collect();
        let text = |names: &[String]| format!(r#"{{"in":{{"{}":0}}}}"#, members(names));
        assert!(parse_object(text(&names)).is_ok(), "{count}");
        for place in [0, count / 2, count - 1] {
            for again in [name(place), name(place).replacen('n', r"\u006e", 1)] {
                let names = [&names[..], &[again]].concat();
                assert_eq!(parse_object(text(&names)), Err(BadJson), "{count}: {place}");
            }
        }
    }
}

#[test]
fn what_is_read_is_what_others_read() {
    for text in [
        "{}",
        r#" { "" : "" , "a" : [ ] , "b" : { } } "#,
        r#"{"z":null,"a":true,"m":false,"n":[0,-0,1.50,1e3,1E-3,[[]],{"x":{}}],"t":"ü"}"#,
        r#"{"\u0061\n":"\ud83d\ude00\\","b":"\"","c":["\t",1,"plain",2]}"#,
        r#"{"big":123456789012345678901234567890,"far":1e999999999}"#,
        r#"{"n":{"$serde_json::private::Number":"1E5"}}"#,
        r#"{"aba":1,"a":2,"aa":3,"aca":4,"\u0061da":5,"":6}"#, // names that begin and end alike
    ] {
        let object = parse_object(text).unwrap();
        let theirs: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::Value::from(&object), theirs, "{text}");
        assert_eq!(object.value().to_string(), theirs.to_string());
        for (name, value) in object.iter() {
            assert_eq!(serde_json::Value::from(value), theirs[name], "{text} {name}");
            let found = object.get(name).map(serde_json::Value::from);
            assert_eq!(found.as_ref(), theirs.get(name), "{text} {name}");
        }
        assert!(object.get("aea").is_none());
    }
}

#[test]
fn a_number_is_what_others_take_it_for() {
    for digits in [
        "0",
        "-0",
        "5",
        "-5",
        "2.0",
        "2e0",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "1.7976931348623157e308",
        "1e309",
        "-1e309",
        "1e-999",
    ] {
        let text = format!(r#"{{"n":{digits}}}"#);
        let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
        let object = parse_object(text).unwrap();
        let ours = object.get("n").unwrap();
        assert_eq!(ours.as_i64(), theirs["n"].as_i64(), "{digits}");
        assert_eq!(ours.as_f64(), theirs["n"].as_f64(), "{digits}");
    }
    let object = parse_object(r#"{"n":"5"}"#).unwrap();
    let text = object.get("n").unwrap();
    assert_eq!((text.as_i64(), text.as_f64()), (None, None));
}

#[test]
fn a_pointer_leads_where_it_leads_others() {
    let text = r#"{"a":[0,[1],{"b":2}],"":{"":3},"0":4,"c/d":5,"m~n":6,"~1":7,"t":"x"}"#;
    let theirs: serde_json::Value = serde_json::from_str(text).unwrap();
    let object = parse_object(text).unwrap();
    for pointer in [
        "/a", "/a/", "/a/0", "/a/00", "/a/+0", "/a/-", "/a/-1", "/a/3", "/a/1/0", "/a/2/b", "/",
        "//", "///", "/0", "/c~1d", "/c/d", "/m~0n", "/m~n", "/~01", "/t/0", "/none", "a", "a/0",
    ] {
        let found = object.pointed(pointer).map(serde_json::Value::from);
        assert_eq!(found.as_ref(), theirs.pointer(pointer), "{pointer}");
    }
    assert!(object.pointed("").is_none(), "the whole is no member");
}

#[test]
fn a_text_is_kept_as_it_came_and_only_what_was_escaped_stands_beside_it() {
    let text = br#"{"a":"plain","b":["\u0062",12]}"#.to_vec();
    let place = text.as_ptr();
    let object = parse_object(text).unwrap();
    assert_eq!((object.text.as_ptr(), &*object.beside), (place, "b12"));
    assert_eq!((object.nodes.len(), size_of::<Node>()), (7, 12));
}

#[test]
fn debug_shows_no_values() {
    let object = object(&serde_json::json!({"sub": "user_1"}));
    let value = object.get("sub").unwrap();
    let shown = format!("{object:?} {value:?} {:?}", value.kind());
    assert_eq!(shown, "Object(1 members) Value { object: Object(1 members), place: 2 } Text");
    assert_eq!(Object::default(), parse_object("{}").unwrap());
}

#[test]
fn deep_nesting_is_refused_and_harmless() {
    let nested = |depth: usize| format!("{}{}", r#"{"a":"#.repeat(depth) + "0", "}".repeat(depth));
    assert_eq!([127, 128].map(|depth| parse_object(nested(depth)).is_ok()), [true, false]);
    let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    assert_eq!(parse_object(deep.as_bytes()), Err(BadJson));
}
