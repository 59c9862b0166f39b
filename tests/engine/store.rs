//! The store's format: whatever is written is read again, and whatever is read is a record or an error.

use passerelle::engine::name::DomainName;
use passerelle::engine::store::{
    self, Data, Half, IncomingRecord, IncomingState, Line, LinePurpose, MessageRecord,
    OutgoingRecord, Record, Step,
};
use proptest::prelude::*;

fn names() -> impl Strategy<Value = DomainName> {
    "[a-zA-Z0-9._-]{1,64}".prop_map(|text| DomainName::parse(&text).expect("a name"))
}

fn contents() -> impl Strategy<Value = bytes::Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Into::into)
}

fn values() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((any::<String>(), any::<String>()), 0..3)
}

prop_compose! {
    fn calls()(
        texts in (any::<String>(), any::<String>(), any::<String>(), any::<String>()),
        people in (names(), names()),
        values in values(),
        until in any::<u64>(),
        flags in any::<(bool, bool)>(),
    ) -> OutgoingRecord {
        let ((dialect, row, root, head), (requester, handler), (extra, held)) = (texts, people, flags);
        OutgoingRecord { dialect, row, root, head, requester, handler, values, until, extra, held }
    }
}

prop_compose! {
    fn messages()(
        texts in (any::<String>(), any::<String>(), any::<String>()),
        options in (any::<Option<String>>(), any::<Option<String>>(), any::<Option<u64>>()),
        correlation in prop::option::of(contents()),
        people in (prop::option::of(names()), prop::option::of(names()), names()),
        call in prop::option::of(calls()),
        numbers in (0_u8..2, any::<u64>(), any::<bool>()),
        payload in contents(),
    ) -> Record {
        let ((id, topic, head), (response_topic, mark, until), (source, to, from)) = (texts, options, people);
        let (qos, made, counted) = numbers;
        let correlation = correlation.map(Data);
        Record::Message(Box::new(MessageRecord {
            id, topic, qos, response_topic, correlation, source, mark, until, made, counted, to, from,
            head, call, payload,
        }))
    }
}

prop_compose! {
    fn given_calls()(
        texts in (any::<String>(), any::<String>(), any::<String>(), any::<String>(), any::<String>()),
        people in (prop::option::of(names()), names()),
        correlation in prop::option::of(contents()),
        values in values(),
        state in prop::sample::select(vec![IncomingState::Held, IncomingState::Queued, IncomingState::Open, IncomingState::Unanswered]),
        numbers in any::<(bool, u64, u32)>(),
        line in contents(),
    ) -> Record {
        let ((dialect, row, root, reply, head), (requester, handler)) = (texts, people);
        let ((direct, until, answers), correlation) = (numbers, correlation.map(Data));
        Record::Given(Box::new(IncomingRecord {
            dialect, row, root, requester, handler, direct, reply, correlation, values, state, until,
            answers, head, line,
        }))
    }
}

fn lines() -> impl Strategy<Value = Record> {
    let purpose = prop_oneof![
        any::<usize>().prop_map(LinePurpose::Call),
        (names(), any::<bool>()).prop_map(|(from, command)| LinePurpose::Message { from, command }),
        Just(LinePurpose::Notice),
    ];
    (purpose, any::<Option<u64>>(), contents())
        .prop_map(|(purpose, until, line)| Record::Line(Line { purpose, until, line }))
}

fn records() -> impl Strategy<Value = Record> {
    let half = (any::<bool>(), contents());
    prop_oneof![
        messages(),
        given_calls(),
        lines(),
        half.prop_map(|(skipped, bytes)| Record::Half(Half { skipped, bytes })),
        Just(Record::Landed),
        Just(Record::Over),
    ]
}

/// Reads all of it; how it ended.
fn all(bytes: &[u8]) -> (Vec<(u64, Record)>, usize, Step) {
    let (mut found, mut damaged, mut at) = (Vec::new(), 0, 0);
    loop {
        match store::read(bytes, at) {
            Step::Record(entry, next) => {
                assert!(next > at);
                found.push((entry.n, entry.is));
                at = next;
            }
            Step::Damaged(_, next) => {
                assert!(next > at);
                damaged += 1;
                at = next;
            }
            end => return (found, damaged, end),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(written in prop::collection::vec((any::<u64>(), records()), 0..6)) {
        let mut bytes = Vec::new();
        for (n, record) in &written {
            let before = bytes.len();
            store::append(&mut bytes, *n, record);
            prop_assert_eq!(store::size_of_record(&bytes[before..]), Some(bytes.len() - before));
            if let Record::Message(message) = record {
                let (size, said) = (bytes.len() - before, message.size());
                let names = message.call.as_ref().map_or(0, |call| {
                    6 * (call.dialect.len() + call.row.len() + call.root.len())
                });
                let mark = 6 * message.mark.as_ref().map_or(0, String::len) + 6 * message.id.len();
                prop_assert!(size <= said + names + mark + 64, "{} of {}", size, said);
            }
        }
        prop_assert_eq!(all(&bytes), (written, 0, Step::End));
    }

    #[test]
    fn what_is_damaged_is_told(
        written in prop::collection::vec((any::<u64>(), records()), 1..4),
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let mut bytes = Vec::new();
        written.iter().for_each(|(n, record)| store::append(&mut bytes, *n, record));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (found, damaged, end) = all(&bytes);
        prop_assert!(found.len() < written.len());
        prop_assert!(damaged > 0 || matches!(end, Step::Torn(_)));
    }

    #[test]
    fn bytes_of_any_kind_are_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = all(&bytes);
        let _ = store::read_header(&bytes);
    }

    #[test]
    fn a_header_is_read_again(boot in "[0-9a-f-]{2,63}") {
        let header = store::header(Some(&boot));
        prop_assert_eq!(store::read_header(header.as_bytes()), Ok((header.len(), Some(boot.as_str()))));
        let header = store::header(None);
        prop_assert_eq!(store::read_header(header.as_bytes()), Ok((header.len(), None)));
    }
}
