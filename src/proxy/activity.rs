//! What a client connection is doing, and since when.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{self, Instant};

use super::present;

/// What a connection is doing. Shared by its socket, its requests and its timers.
#[derive(Clone, Debug)]
pub(super) struct Activity(Rc<Told>);

#[derive(Debug)]
struct Told {
    state: Cell<(State, Instant)>,
    /// Since when the client has taken nothing of what there is for it.
    blocked: Cell<Option<Instant>>,
    /// And of what is still with TLS.
    stuck: Cell<Option<Instant>>,
    /// Requests so far, over HTTP/1.1.
    requests: Cell<u64>,
    /// Whether the last request had a body, of which some may still come.
    body: Cell<bool>,
    /// Requests under way: over HTTP/1.1 one at most.
    under_way: Cell<usize>,
    /// Told where the request under way is the last that may come.
    last: Notify,
    /// Whether requests come side by side: bytes then are no sign that a head has begun.
    multiplexed: Cell<bool>,
    /// When bytes last passed, either way; kept where requests come side by side.
    moved: Cell<Instant>,
    /// How much was written since the client last said something; kept there, too.
    unheard: Cell<usize>,
    /// Whether what is not answered yet is to be answered by us.
    cut: Cell<bool>,
    /// Wakes requests that come side by side, whose tasks are not the connection's.
    cutting: Notify,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Accepted; nothing was read yet.
    New,
    /// Part of a head was read.
    Head,
    /// A request is under way.
    Busy,
    /// No request is under way, and the next has not begun.
    Idle,
}

impl Activity {
    pub(super) fn start() -> Self {
        Self(Rc::new(Told {
            state: Cell::new((State::New, Instant::now())),
            blocked: Cell::default(),
            stuck: Cell::default(),
            requests: Cell::default(),
            body: Cell::default(),
            under_way: Cell::default(),
            last: Notify::new(),
            multiplexed: Cell::default(),
            moved: Cell::new(Instant::now()),
            unheard: Cell::default(),
            cut: Cell::default(),
            cutting: Notify::new(),
        }))
    }

    /// The client has said that it speaks HTTP/2: from now on it is idle until there is a request.
    pub(super) fn speaks_http2(&self) {
        self.0.multiplexed.set(true);
        self.0.state.set((State::Idle, present::now()));
    }

    /// Says that nothing may be read as a request any more after the one that is under way.
    pub(super) fn is_last(&self) {
        self.0.last.notify_one();
    }

    /// Waits until that is said.
    pub(super) async fn until_last(&self) {
        self.0.last.notified().await;
    }

    /// Says that the proxy ends before the backend has answered: whoever polls the connection after
    /// this has the requests on it answered by us.
    pub(super) fn cut(&self) {
        self.0.cut.set(true);
        self.0.cutting.notify_waiters();
    }

    /// Waits for what is `handled`; nothing where that is cut before.
    pub(super) async fn or_cut<T>(
        &self,
        mut handled: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        // Where there is one request at a time, it is polled with its connection, and needs no waking.
        let mut told = self.0.multiplexed.get().then(|| Box::pin(self.0.cutting.notified()));
        poll_fn(|context| {
            if let Poll::Ready(handled) = handled.as_mut().poll(context) {
                return Poll::Ready(Some(handled));
            }
            let told = told.as_mut().is_some_and(|told| told.as_mut().poll(context).is_ready());
            if told || self.0.cut.get() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// A request has begun; it is over when what is returned is dropped.
    pub(super) fn busy(&self, since: Instant) -> Busy {
        self.0.under_way.set(self.0.under_way.get() + 1);
        self.0.state.set((State::Busy, since));
        Busy(self.clone())
    }

    /// Returns when the head that is being waited for, if any, must be whole.
    ///
    /// The first head has its time from the start of the connection, a later one from its first
    /// byte; between requests a connection rests.
    pub(super) fn head_due(&self, at_most: Duration) -> Option<Instant> {
        match self.0.state.get() {
            (State::New | State::Head, since) => Some(since + at_most),
            (State::Busy | State::Idle, _) => None,
        }
    }

    /// Returns since when nothing has been under way; nothing where something is.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        match self.0.state.get() {
            (State::New | State::Idle, since) => Some(since),
            (State::Head | State::Busy, _) => None,
        }
    }

    /// Returns since when there has been nothing to do after a request: all of it was read, and all of
    /// its answer was taken.
    pub(super) fn rests_since(&self) -> Option<Instant> {
        self.answered_since().filter(|_| !self.0.body.get())
    }

    /// Returns since when all of an answer has been taken; some of its request's body may still come.
    pub(super) fn answered_since(&self) -> Option<Instant> {
        let told = &self.0;
        let waits = told.blocked.get().is_some() || told.stuck.get().is_some();
        match told.state.get() {
            (State::Idle, since) if !waits => Some(since),
            _ => None,
        }
    }

    /// Returns since when nothing has been under way and no byte has passed; nothing where something
    /// is. Over HTTP/2 a request is over before all of its answer was sent.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.quiet_since().map(|quiet| quiet.max(self.0.moved.get()))
    }

    /// Returns when the client must have taken something, if something waits for it.
    pub(super) fn read_due(&self, at_most: Duration) -> Option<Instant> {
        let since = self.0.blocked.get().into_iter().chain(self.0.stuck.get()).min();
        since.map(|since| since + at_most)
    }

    /// Waits until the client has taken nothing of what there is for it for so long.
    pub(super) async fn takes_nothing(&self, at_most: Duration) {
        loop {
            let due = self.read_due(at_most);
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            time::sleep_until(due.unwrap_or_else(|| Instant::now() + at_most)).await;
        }
    }

    /// Says that a request has begun, and whether it has a body.
    pub(super) fn begins(&self, has_body: bool) {
        self.0.requests.set(self.0.requests.get() + 1);
        self.0.body.set(has_body);
    }

    /// Returns the body of the request that has begun.
    pub(super) fn body(&self) -> BodyOf {
        BodyOf { request: self.0.requests.get(), activity: self.clone() }
    }

    /// Tells whether the client may still be sending the body of its last request.
    pub(super) fn may_be_sent_more(&self) -> bool {
        self.0.body.get()
    }

    /// Tells whether there is more to read for the client than what says how a connection over HTTP/2
    /// goes on: it may be reading that, and has not come to where we asked for a word.
    pub(super) fn may_be_read(&self) -> bool {
        const FRAMES: usize = 1024;
        self.0.unheard.get() > FRAMES
    }

    pub(super) fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        waits(&self.0.blocked, polled.is_pending());
        if let Poll::Ready(Ok(bytes)) = polled {
            self.moved();
            self.0.unheard.set(self.0.unheard.get().saturating_add(bytes));
        }
        polled
    }

    pub(super) fn flushed(&self, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        waits(&self.0.stuck, polled.is_pending());
        polled
    }

    fn moved(&self) {
        if self.0.multiplexed.get() {
            self.0.moved.set(present::now());
        }
    }

    pub(super) fn bytes_came(&self) {
        self.moved();
        self.0.unheard.set(0);
        match self.0.state.get() {
            // The first head's time runs from the start, so its first byte does not renew it.
            (State::New, since) => self.0.state.set((State::Head, since)),
            // Where a body still goes on it may be of that, which is told when it has passed.
            (State::Idle, _) if !self.0.multiplexed.get() => {
                self.0.state.set((State::Head, present::now()));
            }
            (State::Idle | State::Head | State::Busy, _) => {}
        }
    }

    /// The next head began while the request before it was under way: it has its time from the end of
    /// that.
    pub(super) fn head_began_before(&self) {
        if let (State::Idle, since) = self.0.state.get() {
            self.0.state.set((State::Head, since));
        }
    }
}

/// Keeps since when somebody waits.
fn waits(since: &Cell<Option<Instant>>, pending: bool) {
    match (pending, since.get()) {
        (false, Some(_)) => since.set(None),
        (true, None) => since.set(Some(present::now())),
        (false, None) | (true, Some(_)) => {}
    }
}

/// The body of one request of a connection.
#[derive(Debug)]
pub(super) struct BodyOf {
    request: u64,
    activity: Activity,
}

impl BodyOf {
    /// A piece of it was passed on.
    pub(super) fn goes_on(&self) {
        if self.is_of_the_last() {
            self.was_no_head();
        }
    }

    /// All of it was read. That says nothing of another request's: a backend that answers early may
    /// take the last piece of this one when the next has begun, and whoever took that one's for read
    /// would read what is left of it as a request.
    pub(super) fn has_ended(&self) {
        if self.is_of_the_last() && self.activity.0.body.replace(false) {
            self.was_no_head();
        }
    }

    fn is_of_the_last(&self) -> bool {
        self.activity.0.requests.get() == self.request
    }

    /// What came since the answer was of this body, and the connection is idle from now on.
    fn was_no_head(&self) {
        let state = &self.activity.0.state;
        if let (State::Idle | State::Head, _) = state.get() {
            state.set((State::Idle, present::now()));
        }
    }

    /// Says that nothing may be read as a request after this one.
    pub(super) fn is_last(&self) {
        self.activity.is_last();
    }
}

/// Says that a request is under way.
#[derive(Debug)]
pub(super) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        let told = &self.0.0;
        told.under_way.set(told.under_way.get() - 1);
        if told.under_way.get() == 0 {
            told.state.set((State::Idle, present::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_when_all_was_read_and_all_was_taken() {
        let activity = Activity::start();
        assert_eq!(activity.rests_since(), None, "nothing was served");
        let busy = activity.busy(Instant::now());
        activity.begins(true);
        assert_eq!(activity.rests_since(), None, "a request is under way");
        drop(busy);
        assert_eq!(activity.rests_since(), None, "its body may go on");
        assert_eq!(
            activity.answered_since(),
            Some(Instant::now()),
            "and is not waited for for ever"
        );
        activity.body().has_ended();
        assert_eq!(activity.rests_since(), Some(Instant::now()));
        for what in [&activity.0.blocked, &activity.0.stuck] {
            waits(what, true);
            assert_eq!(activity.rests_since(), None, "the client has not taken all");
            waits(what, false);
        }
        activity.bytes_came();
        assert_eq!(activity.rests_since(), None, "the next request has begun");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_one_body_is_not_the_end_of_the_next() {
        let activity = Activity::start();
        activity.begins(true);
        let first = activity.body();
        activity.begins(true);
        let second = activity.body();
        drop(activity.busy(Instant::now())); // both were answered
        first.has_ended();
        assert!(activity.may_be_sent_more());
        assert_eq!(activity.rests_since(), None, "the second goes on");
        second.has_ended();
        assert_eq!(activity.rests_since(), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_a_body_that_ends_after_its_answer() {
        const SECOND: Duration = Duration::from_secs(1);
        let activity = Activity::start();
        activity.begins(true);
        let body = activity.body();
        drop(activity.busy(Instant::now()));
        for step in [BodyOf::goes_on, BodyOf::has_ended] {
            time::advance(SECOND).await;
            activity.bytes_came();
            assert_eq!(activity.head_due(SECOND), Some(Instant::now() + SECOND), "or a head");
            time::advance(SECOND / 2).await;
            step(&body);
            assert_eq!(activity.answered_since(), Some(Instant::now()));
        }
        time::advance(SECOND).await;
        activity.bytes_came();
        body.has_ended(); // as it does when it is dropped, too
        assert_eq!(activity.head_due(SECOND), Some(Instant::now() + SECOND), "the next head");
    }
}
