//! What is said on channels of Redis, and how far behind it somebody is.
//!
//! The driver keeps what is not taken, without a bound. So words are taken whatever else is waited for ([`Words::heard_while`]), and
//! who falls behind all the same is told that the connection is lost: dropped, all that waits in it goes too. Who joins anew looks for
//! what it missed.

use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::task::coop;

/// Words that are taken in a row while more wait.
const MOST_BEHIND: usize = 50_000;

/// The words of a connection.
#[derive(Debug)]
pub struct Words<S> {
    stream: S,
    /// Taken since none waited.
    behind: usize,
}

impl<S: Stream + Unpin> Words<S> {
    /// Those of a connection that was just joined.
    #[must_use]
    pub fn of(stream: S) -> Self {
        Self { stream, behind: 0 }
    }

    /// The next; none when the connection is lost, or is to be dropped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<S::Item> {
        coop::consume_budget().await;
        // Without the budget of the task: out of it, what waits seems not to be there.
        let word = match coop::unconstrained(self.stream.next()).now_or_never() {
            Some(word) => {
                self.behind += 1;
                word
            }
            None => {
                self.behind = 0;
                self.stream.next().await
            }
        };
        if self.behind > MOST_BEHIND {
            tracing::warn!("words come faster than they are taken: the channels are joined anew");
            return None;
        }
        word
    }

    /// Hands words on until what is asked of the connection is answered; none when it is not within `patience`, or the connection is
    /// lost.
    pub async fn heard_while<T, E>(
        &mut self,
        patience: Duration,
        asked: impl Future<Output = Result<T, E>>,
        mut take: impl FnMut(S::Item),
    ) -> Option<T> {
        let mut asked = std::pin::pin!(tokio::time::timeout(patience, asked));
        loop {
            tokio::select! {
                answer = &mut asked => return answer.ok()?.ok(),
                word = self.next() => take(word?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn who_never_catches_up_is_told_and_who_does_goes_on_for_ever() {
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
        let mut words = Words::of(futures::stream::poll_fn(move |cx| said.poll_recv(cx)));
        for _ in 0..2 {
            // All that may wait at once, and then none does.
            assert!((0..MOST_BEHIND).all(|word| say.send(word).is_ok()));
            for expected in 0..MOST_BEHIND {
                assert_eq!(words.next().await, Some(expected));
            }
            let mut none = std::pin::pin!(coop::unconstrained(words.next()));
            assert!(futures::poll!(&mut none).is_pending());
        }
        assert!((0..=MOST_BEHIND).all(|word| say.send(word).is_ok()));
        for expected in 0..MOST_BEHIND {
            assert_eq!(words.next().await, Some(expected));
        }
        assert_eq!(words.next().await, None, "one too many without a breath");
    }

    #[tokio::test]
    async fn others_have_their_turn_while_words_come_without_end() {
        let mut words = Words::of(futures::stream::poll_fn(|_| Poll::Ready(Some(()))));
        let others = tokio::spawn(async {});
        while !others.is_finished() {
            assert_eq!(words.next().await, Some(()), "nobody else had a turn");
        }
    }

    #[tokio::test]
    async fn words_are_taken_while_an_answer_is_waited_for() {
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
        let mut words = Words::of(futures::stream::poll_fn(move |cx| said.poll_recv(cx)));
        let (answer, asked) = tokio::sync::oneshot::channel();
        for word in 0..3 {
            say.send(word).unwrap();
        }
        // It is answered when all of them were heard, and not before.
        let (mut answer, mut heard) = (Some(answer), Vec::new());
        let told = words.heard_while(Duration::from_secs(60), asked, |word| {
            heard.push(word);
            if heard.len() == 3 {
                let _heard = answer.take().map(|answer| answer.send("pong"));
            }
        });
        assert_eq!(told.await, Some("pong"));
        assert_eq!(heard, [0, 1, 2]);
        // A connection that is lost answers nothing.
        drop(say);
        let never = std::future::pending::<Result<(), ()>>();
        assert_eq!(words.heard_while(Duration::from_secs(60), never, |_| ()).await, None);
    }
}
