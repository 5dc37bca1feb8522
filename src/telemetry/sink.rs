//! Where log lines go: standard error, through a thread of its own.
//!
//! A slow reader of our standard error must not slow requests down, so lines wait in a bounded
//! queue. What finds it full is dropped, and the number of lines dropped is written instead.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait: some tenths of a second of them at full load.
const QUEUE: usize = 8192;

/// How many bytes are written at once, where so many wait.
const AT_ONCE: usize = 64 * 1024;

/// How long the end of the process waits for the reader of its log.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes lines and writes them from another thread. Cheap to clone.
#[derive(Clone)]
pub struct Sink {
    /// Bounded by `counts`: a channel that is bounded by itself has all its room from the start.
    queue: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Lines in the queue.
    waiting: AtomicUsize,
    /// Lines that found it full, since that was last written.
    dropped: AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Sink {
    /// Creates a sink that writes to `out`, and starts its thread.
    ///
    /// # Errors
    ///
    /// Where the thread cannot be started.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = channel();
        let counts = Arc::<Counts>::default();
        let writer = Writer { out, lines, counts: Arc::clone(&counts) };
        thread::Builder::new().name("log".into()).spawn(move || writer.run())?;
        Ok(Self { queue, counts })
    }

    /// Takes one line, with its line break. Never waits.
    pub fn write(&self, line: Vec<u8>) {
        let Counts { waiting, dropped } = &*self.counts;
        if waiting.fetch_add(1, Ordering::Relaxed) < QUEUE {
            let _ = self.queue.send(Message::Line(line)); // fails where there is no writer any more
        } else {
            waiting.fetch_sub(1, Ordering::Relaxed);
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was taken so far is written, or for a second: a reader that is
    /// stuck must not keep the process from its end.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let _ = self.queue.send(Message::Flush(done));
        let _ = wait.recv_timeout(PATIENCE); // past it, or with the writer gone: so be it
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Sink")
    }
}

struct Writer<W> {
    out: W,
    lines: Receiver<Message>,
    counts: Arc<Counts>,
}

impl<W: Write> Writer<W> {
    /// Writes until nobody holds the sink any more, many lines at a time where many wait.
    fn run(mut self) {
        let (mut buffer, mut waiting) = (Vec::new(), Vec::new());
        while let Ok(first) = self.lines.recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Line(line) => {
                        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                        buffer.extend(line);
                    }
                    Message::Flush(done) => waiting.push(done),
                }
                next = (buffer.len() < AT_ONCE).then(|| self.lines.try_recv().ok()).flatten();
            }
            let dropped = self.counts.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                buffer.extend(format!("{{\"level\":\"WARN\",\"message\":\"log lines dropped\",\"count\":{dropped}}}\n").into_bytes());
            }
            // Nobody is left to tell where standard error is gone.
            let _ = self.out.write_all(&buffer).and_then(|()| self.out.flush());
            buffer.clear();
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
        }
    }
}

/// One event of `tracing`, collected and handed over as one line.
#[derive(Debug)]
pub struct EventLine {
    sink: Sink,
    line: Vec<u8>,
}

impl Write for EventLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for EventLine {
    fn drop(&mut self) {
        self.sink.write(std::mem::take(&mut self.line));
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = EventLine;

    fn make_writer(&'a self) -> EventLine {
        EventLine { sink: self.clone(), line: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let out = Shared::default();
        let sink = Sink::start(out.clone()).unwrap();
        for number in 0..1000 {
            sink.write(format!("{number}\n").into_bytes());
        }
        sink.flush();
        let written = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let want: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(written, want);
    }

    #[test]
    fn a_reader_that_is_stuck_keeps_nobody_from_the_end() {
        let out = Shared::default();
        let held = out.0.clone();
        let lock = held.lock().unwrap();
        let sink = Sink::start(out).unwrap();
        for _ in 0..QUEUE * 2 {
            sink.write(b"x\n".to_vec());
        }

        sink.flush(); // comes back

        drop(lock);
    }

    #[test]
    fn a_full_queue_drops_lines_and_says_how_many() {
        let out = Shared::default();
        let held = out.0.clone();
        let lock = held.lock().unwrap();
        let sink = Sink::start(out).unwrap();
        let line = format!("{}\n", "x".repeat(127));
        for _ in 0..QUEUE * 3 {
            sink.write(line.clone().into_bytes());
        }
        drop(lock);
        sink.flush();
        sink.write(b"y\n".to_vec());
        sink.flush();
        let written = String::from_utf8(held.lock().unwrap().clone()).unwrap();
        let kept = written.lines().filter(|it| *it == line.trim_end()).count();
        let told = written.lines().filter_map(|line| {
            let (_, count) = line.split_once("\"log lines dropped\",\"count\":")?;
            count.strip_suffix('}')?.parse::<usize>().ok()
        });
        assert_eq!(kept + told.sum::<usize>(), QUEUE * 3, "{kept} kept");
        let being_written = AT_ONCE / line.len() + 1;
        assert!((QUEUE..=QUEUE + being_written).contains(&kept), "{kept}");
        assert!(written.ends_with("y\n"), "there is room again");
    }
}
