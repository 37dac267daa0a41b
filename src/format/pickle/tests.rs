//! Pickles: sound ones, code, bombs and what is cut off.

use super::*;
use crate::random::Stream;

/// `{'w': tensor of shape [2, 1]}` as PyTorch writes it.
fn sound() -> Vec<u8> {
    [
        &b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(("[..],
        b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ",
        b"K\x00K\x02K\x01\x86K\x01K\x01\x86\x89h\x00)RtRu}b.",
    ]
    .concat()
}

fn refusal(bytes: &[u8]) -> String {
    let error = read(bytes).map(|pickle| pickle.nodes[pickle.root].clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format);
    error.to_string()
}

#[test]
fn a_dictionary_of_a_tensor_is_read() {
    let Pickle { nodes, root } = read(&sound()).unwrap();
    let Node::Dict(pairs) = &nodes[root] else { panic!("{:?}", nodes[root]) };
    let &[(key, value)] = pairs.as_slice() else { panic!("{pairs:?}") };
    assert_eq!(nodes[key], Node::Text("w".into()));
    let Node::Tensor(tensor) = &nodes[value] else { panic!("{:?}", nodes[value]) };
    assert_eq!((tensor.offset, &tensor.shape[..], &tensor.strides[..]), (0, &[2, 1][..], &[1, 1][..]));
    let storage = Storage { ty: ElementType::F32, key: "0".into(), elements: 2 };
    assert_eq!(nodes[tensor.storage], Node::Storage(storage));
}

#[test]
fn plain_values_of_all_protocols_are_read() {
    let root = |bytes: &[u8]| {
        let pickle = read(bytes).unwrap();
        pickle.nodes[pickle.root].clone()
    };
    for (bytes, node) in [
        (&b"N."[..], Node::None),
        (b"\x88.", Node::Bool(true)),
        (b"K\xff.", Node::Int(255)),
        (b"M\x00\x01.", Node::Int(256)),
        (b"J\xff\xff\xff\xff.", Node::Int(-1)),
        (b"\x8a\x00.", Node::Int(0)),
        (b"\x8a\x02\x00\xff.", Node::Int(-256)),
        (b"\x8a\x05\x00\x00\x00\x00\x01.", Node::Int(1 << 32)),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", Node::Float(1.5)),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x02hi\x94.", Node::Text("hi".into())),
        (b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93.", Node::Global(Global::OrderedDict)),
        (b"]K\x01a(K\x02K\x03e.", Node::List(vec![1, 2, 3])),
        (b"}K\x01K\x02s.", Node::Dict(vec![(1, 2)])),
    ] {
        assert_eq!(root(bytes), node, "{bytes:?}");
    }
}

#[test]
fn code_is_refused_by_its_name() {
    for (bytes, name) in [
        (&b"cos\nsystem\n(X\x02\x00\x00\x00idtR."[..], "os.system"),
        (b"cposix\nsystem\nX\x02\x00\x00\x00id\x85R.", "posix.system"),
        (b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.", "builtins.eval"),
        (b"c__builtin__\nexec\n(X\x01\x00\x00\x001tR.", "__builtin__.exec"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "os.system"),
        (b"ctorch.hub\nload\n.", "torch.hub.load"),
        (b"ctorch\nload\n.", "torch.load"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "_rebuild_tensor_v2.__globals__"),
        (b"c__main__\nNet\n)\x81.", "__main__.Net"),
    ] {
        let text = refusal(bytes);
        assert!(text.contains(name) && text.contains("refused") && text.contains("state_dict"), "{text}");
    }
    // Instructions that call or make objects in other ways.
    for bytes in [
        &b"(S'id'\nios\nsystem\n."[..],
        b"(cos\nsystem\nX\x02\x00\x00\x00ido.",
        b"ccollections\nOrderedDict\n)\x81.",
        b"ccollections\nOrderedDict\n)}\x92.",
        b"P0\n.",
        b"\x82\x01.",
        b"\x8b\x01\x00\x00\x00\x01.",
    ] {
        let text = refusal(bytes);
        assert!(text.contains("instruction 0x") || text.contains("refused"), "{text}");
    }
}

#[test]
fn known_functions_take_what_pytorch_gives_them_alone() {
    for (bytes, words) in [
        (&b"ccollections\nOrderedDict\nK\x01\x85R."[..], "calls OrderedDict with 1 arguments"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "calls RebuildTensor with 0"),
        (b"ctorch._utils\n_rebuild_parameter\nK\x01\x85R.", "calls RebuildParameter"),
        (b"ctorch\nFloatStorage\nK\x01\x85R.", "calls StorageOf(F32)"),
        (b"K\x01K\x02R.", "no known function"),
        (b"ccollections\nOrderedDict\nK\x01R.", "no known function"),
        (b"K\x01K\x02b.", "attributes of what is no dictionary"),
        (b"}K\x02b.", "attributes of what is no dictionary"),
        (b"X\x01\x00\x00\x000Q.", "by no tuple"),
        (
            b"(X\x06\x00\x00\x00modulectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ.",
            "another form",
        ),
        (b"K\x01K\x02\x93.", "by what is no text"),
        (b"K\x01K\x01a.", "no list"),
        (b"K\x01K\x01K\x01s.", "no dictionary"),
        (b"}(K\x01u.", "no dictionary"),
    ] {
        let text = refusal(bytes);
        assert!(text.contains(words), "{text}, not {words}");
    }
}

#[test]
fn the_stack_the_marks_and_the_memo_have_ends() {
    for bytes in [
        &b""[..],
        b".",
        b"a.",
        b"t.",
        b"R.",
        b"\x87.",
        b"h\x00.",
        b"j\x00\x00\x00\x01.",
        b"q\x00.",
        b"]K\x01(a.",
        b"K\x01(.",
        b"u.",
        b"X\xff\xff\xff\x7fx.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffx.",
        b"\x8a\xff.",
        b"cos",
        b"cos\nsystem",
        b"J\x01",
    ] {
        let text = refusal(bytes);
        assert!(text.contains("no whole pickle"), "{bytes:?}: {text}");
    }
    let sound = sound();
    for length in 0..sound.len() {
        refusal(&sound[..length]);
    }
}

/// What Python would blow up to 2^60 elements, or copy a memo a million times, takes as many nodes as instructions.
#[test]
fn bombs_stay_as_small_as_their_files() {
    let mut doubled = b"K\x01".to_vec();
    for level in 0..60 {
        doubled.extend([b'q', level, b'h', level, 0x86]);
    }
    doubled.push(b'.');
    let pickle = read(&doubled).unwrap();
    assert_eq!(pickle.nodes.len(), 61);

    let mut grown = b"]q\x00".to_vec();
    (0..100_000).for_each(|_| grown.extend(b"h\x00a"));
    grown.push(b'.');
    assert_eq!(read(&grown).unwrap().nodes.len(), 1);

    let mut deep = vec![b'('; 100_000];
    deep.extend([b't'; 100_000]);
    deep.push(b'.');
    assert_eq!(read(&deep).unwrap().nodes.len(), 100_000);
}

#[test]
fn mutated_pickles_are_read_or_refused() {
    let mut stream = Stream::new(0, "pickle mutations");
    for _ in 0..20_000 {
        let mut bytes = sound();
        for _ in 0..=stream.below(4) {
            let at = stream.below(bytes.len() as u64) as usize;
            bytes[at] = stream.next_u32() as u8;
        }
        if let Err(error) = read(&bytes) {
            assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        }
    }
}
