//! Tests of a stream with scripted descriptors, which take some bytes, take none, refuse a splice, or fail,
//! in any order. Whatever they do, every byte is accounted for.

use proptest::prelude::*;

use super::*;

/// A step of a script: what the next operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// It moves at most so many bytes.
    Move(usize),
    /// It would block.
    Wait,
    /// A splice gives `InvalidInput`; any other operation would block.
    Unfit,
    /// A write to the capture fails; any other operation would block.
    Disk,
    /// The reader is gone for good; a read would block.
    Gone,
    /// A read of the source fails; any other operation would block.
    Broken,
}

#[derive(Debug)]
struct Script {
    source: Vec<u8>,
    taken: usize,
    file: Vec<u8>,
    sink: Vec<u8>,
    acts: std::vec::IntoIter<Act>,
    is_gone: bool,
    /// Whether the capture has failed.
    has_failed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Capture,
    Sink,
}

impl Script {
    fn new(length: usize, acts: Vec<Act>) -> Self {
        let source = (0..length).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
        let (file, sink, acts) = (Vec::new(), Vec::new(), acts.into_iter());
        Self { source, taken: 0, file, sink, acts, is_gone: false, has_failed: false }
    }

    /// How many of `bytes` move now. At the script's end everything moves.
    fn act(&mut self, sides: [Side; 2], bytes: usize) -> io::Result<usize> {
        if self.is_gone && sides[1] == Side::Sink {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let is_splice = sides[0] != sides[1];
        match self.acts.next().unwrap_or(Act::Move(usize::MAX)) {
            Act::Move(most) => Ok(bytes.min(most)),
            Act::Unfit if is_splice => Err(io::ErrorKind::InvalidInput.into()),
            Act::Disk if sides[1] == Side::Capture => {
                self.has_failed = true;
                Err(nix::errno::Errno::ENOSPC.into())
            }
            Act::Broken if sides == [Side::Source; 2] => Err(nix::errno::Errno::ECONNRESET.into()),
            Act::Gone if sides[1] == Side::Sink => {
                self.is_gone = true;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            Act::Wait | Act::Unfit | Act::Disk | Act::Gone | Act::Broken => {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    fn draw(&mut self, bytes: usize) -> Vec<u8> {
        let end = self.source.len().min(self.taken + bytes);
        let drawn = self.source[self.taken..end].to_vec();
        self.taken = end;
        drawn
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        assert_eq!(usize::try_from(at).expect("small"), self.file.len(), "the file grows at its end");
        self.file.extend_from_slice(bytes);
    }

    fn look(&self, at: u64, bytes: usize) -> Vec<u8> {
        let at = usize::try_from(at).expect("small");
        assert_eq!(at, self.sink.len(), "what is given next is what comes next");
        self.file[at..self.file.len().min(at + bytes)].to_vec()
    }
}

impl StreamIo for Script {
    fn splice_in(&mut self, at: u64, bytes: usize) -> io::Result<usize> {
        let bytes = self.act([Side::Source, Side::Capture], bytes)?;
        let drawn = self.draw(bytes);
        self.put(at, &drawn);
        Ok(drawn.len())
    }

    fn splice_out(&mut self, at: u64, bytes: usize) -> io::Result<usize> {
        let bytes = self.act([Side::Capture, Side::Sink], bytes)?;
        let given = self.look(at, bytes);
        self.sink.extend_from_slice(&given);
        Ok(given.len())
    }

    fn splice_through(&mut self, bytes: usize) -> io::Result<usize> {
        let bytes = self.act([Side::Source, Side::Sink], bytes)?;
        let drawn = self.draw(bytes);
        self.sink.extend_from_slice(&drawn);
        Ok(drawn.len())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.act([Side::Source, Side::Source], buffer.len())?;
        let drawn = self.draw(bytes);
        buffer[..drawn.len()].copy_from_slice(&drawn);
        Ok(drawn.len())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.act([Side::Sink, Side::Sink], bytes.len())?;
        self.sink.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn keep(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        // A regular file does not block: it takes some bytes, or fails.
        let taken = match self.act([Side::Capture, Side::Capture], bytes.len()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 1,
            taken => taken?,
        };
        self.put(at, &bytes[..taken]);
        Ok(taken)
    }

    fn read_back(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let seen = self.look(at, buffer.len());
        buffer[..seen.len()].copy_from_slice(&seen);
        Ok(seen.len())
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (1usize..20_000).prop_map(Act::Move),
        3 => Just(Act::Wait),
        1 => Just(Act::Unfit),
        1 => Just(Act::Disk),
        1 => Just(Act::Gone),
    ];
    prop::collection::vec(act, 0..60)
}

fn check(stream: &CallStream<Script>, max: Option<u64>, on_loss: CaptureLoss) -> Result<(), TestCaseError> {
    let Script { source, taken, file, sink, is_gone, has_failed, .. } = &stream.ends;
    prop_assert!(!stream.is_unread() || *is_gone, "unread: the reader has gone");
    prop_assert_eq!(stream.loss().is_some(), *has_failed, "a loss: the capture has failed");
    prop_assert_eq!(stream.is_lost(), *has_failed && on_loss == CaptureLoss::End);
    prop_assert!(source.starts_with(file), "the file is what was written");
    prop_assert!(source.starts_with(sink), "the reader has what was written");
    prop_assert_eq!(stream.kept(), max.map(|_| file.len() as u64));
    prop_assert!(max.is_none_or(|max| file.len() as u64 <= max), "the file keeps its bound");
    let is_whole = file.len() >= sink.len();
    prop_assert!(is_whole || max.is_none() || stream.is_truncated(), "file first");
    prop_assert!(is_whole || max.is_none() || stream.loss().is_none() || on_loss == CaptureLoss::GoOn);
    if max.is_some() && stream.loss().is_none() {
        prop_assert_eq!(stream.is_truncated(), *taken > file.len(), "truncated only when true");
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_byte_is_accounted_for(
        length in 0usize..100_000,
        max in prop::option::of(1u64..150_000),
        ends in any::<bool>(),
        way in any::<bool>(),
        acts in acts(),
    ) {
        let on_loss = if ends { CaptureLoss::End } else { CaptureLoss::GoOn };
        let way = if way { StreamSide::In } else { StreamSide::Out };
        let steps = acts.len() + length / 1000 + 100;
        let ahead_max = 10_000;
        let stream = CallStream::new(Script::new(length, acts), way, max, on_loss);
        let mut stream = CallStream { ahead_max, ..stream };
        for _ in 0..steps {
            stream.take();
            check(&stream, max, on_loss)?;
            stream.give();
            check(&stream, max, on_loss)?;
        }
        prop_assert!(stream.is_over(), "it comes to its end: {:?}", stream.wants());
        let is_stopped = stream.is_unread() || stream.is_lost();
        prop_assert!(is_stopped || stream.ends.sink == stream.ends.source, "the reader has everything");
        let captured = max.map_or(0, |max| max.min(length as u64));
        let is_kept = stream.loss().is_some() || stream.ends.file.len() as u64 == captured;
        prop_assert!(is_stopped || is_kept, "the file has all that it may");
    }

    #[test]
    fn a_stalled_reader_bounds_what_is_taken(length in 0usize..2_000_000, hurry in any::<bool>()) {
        let script = Script::new(length, Vec::new());
        let mut stream = CallStream::new(script, StreamSide::Out, Some(u64::MAX), CaptureLoss::End);
        for _ in 0..40 {
            if hurry {
                stream.hurry();
            }
            stream.take();
        }
        let bound = if hurry { length } else { length.min(usize::try_from(RELAY_AHEAD_MAX).expect("small")) };
        prop_assert_eq!(stream.ends.file.len(), bound);
    }
}

#[test]
fn what_was_written_before_the_reader_left_is_kept() {
    let mut stream =
        CallStream::new(Script::new(1000, vec![Act::Move(10)]), StreamSide::Out, Some(500), CaptureLoss::End);
    stream.take();
    stream.lose_sink();
    assert_eq!((stream.ends.file.len(), stream.is_over(), stream.is_truncated()), (500, true, false));
}

#[test]
fn of_a_stdin_that_nobody_reads_nothing_more_is_taken() {
    let mut stream =
        CallStream::new(Script::new(1000, vec![Act::Move(10)]), StreamSide::In, Some(500), CaptureLoss::End);
    stream.take();
    stream.lose_sink();
    assert_eq!((stream.ends.taken, stream.is_over()), (10, true));
}

/// A stream of `length` bytes and an unbounded capture, after one take: bytes are in the capture, none with
/// the reader.
fn ahead(length: usize, acts: Vec<Act>) -> CallStream<Script> {
    let mut stream =
        CallStream::new(Script::new(length, acts), StreamSide::Out, Some(u64::MAX), CaptureLoss::End);
    stream.take();
    stream
}

#[test]
fn an_error_from_the_source_is_its_end() {
    for max in [Some(500), None] {
        // The source refuses a splice, gives bytes, which are captured or given, and then fails.
        let script = Script::new(1000, vec![Act::Unfit, Act::Move(100), Act::Move(1000), Act::Broken]);
        let mut stream = CallStream::new(script, StreamSide::Out, max, CaptureLoss::End);
        assert!(stream.take());
        if max.is_none() {
            assert!(stream.give());
        }
        assert!(!stream.is_ended() && !stream.take() && stream.is_ended(), "{max:?}");
        while stream.give() {}
        assert!(stream.is_over() && stream.loss().is_none() && !stream.is_unread() && !stream.is_truncated());
        assert_eq!((stream.ends.taken, stream.ends.sink.len()), (100, 100));
    }
}

#[test]
fn a_capture_that_is_cut_under_the_relay_is_a_loss() {
    for on_loss in [CaptureLoss::End, CaptureLoss::GoOn] {
        let script = Script::new(1000, vec![Act::Move(100), Act::Unfit]);
        let mut stream = CallStream::new(script, StreamSide::Out, Some(u64::MAX), on_loss);
        assert!(stream.take());
        stream.ends.file.clear();
        assert!(!stream.give());
        assert!(stream.loss().is_some() && stream.is_truncated() && stream.is_over());
        assert_eq!((stream.is_lost(), stream.ends.sink.len()), (on_loss == CaptureLoss::End, 0));
    }
}

#[test]
fn a_reader_that_is_gone_before_anything_passed_takes_nothing() {
    let mut stream =
        CallStream::new(Script::new(1000, vec![Act::Gone]), StreamSide::In, None, CaptureLoss::End);
    stream.take();
    assert_eq!((stream.ends.taken, stream.is_unread(), stream.is_over()), (0, true, true));
}

#[test]
fn a_reader_that_takes_nothing_now_is_not_gone() {
    let mut stream = ahead(1000, vec![Act::Move(100), Act::Unfit, Act::Wait, Act::Wait]);
    stream.give();
    stream.give();
    assert!(!stream.is_unread() && !stream.is_over());
    assert!(stream.give());
    assert_eq!(stream.ends.sink.len(), 100);
}

#[test]
fn of_what_was_written_to_a_reader_that_left_a_pipes_worth_is_kept() {
    let pipe = SPLICE_BYTES;
    for (length, step, want) in [(1 << 20, 100_000, 10 + pipe), (200_000, 30_000, 200_000)] {
        let acts = std::iter::once(Act::Move(10)).chain(std::iter::repeat_n(Act::Move(step), 100)).collect();
        let mut stream = ahead(length, acts);
        // The capture is as far ahead of its reader as it may be.
        stream.ahead_max = 10;
        stream.lose_sink();
        assert_eq!((stream.ends.file.len(), stream.is_over()), (want, true), "{length}");
    }
}

#[test]
fn what_a_writer_has_not_written_yet_is_not_waited_for() {
    let mut stream = ahead(1000, vec![Act::Move(10), Act::Move(100), Act::Wait]);
    stream.lose_sink();
    assert_eq!((stream.ends.file.len(), stream.is_over()), (110, true));
}
