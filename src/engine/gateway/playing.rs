//! A recording, played again.

use super::Gateway;
use super::recording::{Difference, GatewayInput, Recorded, Sum, kind_and_sum};
use crate::engine::clock::Now;
use crate::engine::name::DomainName;

impl Gateway {
    /// Does what is recorded once more, which is nothing for what is no input and no effect.
    ///
    /// # Errors
    /// What comes of it is something else.
    pub fn play(&mut self, recorded: Recorded) -> Result<(), Difference> {
        match recorded {
            Recorded::Recording { .. } | Recorded::Missed(_) | Recorded::State(_) => Ok(()),
            Recorded::Input { at, wall, told } => self.tell(told, Now { monotonic: at, wall }),
            Recorded::Effect { of, kind, sum } => {
                let effect = self.next_effect(&of);
                let found = effect.as_ref().map(kind_and_sum);
                if found.as_ref().is_some_and(|(_, is)| *is == sum) {
                    return Ok(());
                }
                let now = effect.map_or("nothing".to_owned(), |effect| format!("{effect:?}"));
                Err(Difference { recorded: format!("{of:?}: {kind}"), now })
            }
        }
    }

    fn tell(&mut self, told: GatewayInput, now: Now) -> Result<(), Difference> {
        match told {
            GatewayInput::Appeared { of } => self.appeared(&of, now),
            GatewayInput::Vanished { of } => self.vanished(&of, now),
            GatewayInput::FolderFailing { folder, error } => {
                self.folder_failing(folder, error, now)
            }
            GatewayInput::Opened { of } => self.opened(&of, now),
            GatewayInput::NotOpened { of, error } => self.not_opened(&of, error, now),
            GatewayInput::Closed { of, why } => self.closed(&of, &why, now),
            GatewayInput::WasPutRight { of } => self.was_put_right(&of, now),
            GatewayInput::Received { of, bytes, more } => self.received(&of, &bytes, more, now),
            GatewayInput::Written { of, count, sum } => {
                let same = self.is_same(&of, self.to_channel(&of), count, sum);
                self.written(&of, count, now);
                return same;
            }
            GatewayInput::Session { of, input } => self.session(&of, input, now),
            GatewayInput::DialNow { of } => self.dial_now(&of, now),
            GatewayInput::NotDialled { of, why } => self.not_dialled(&of, &why, now),
            GatewayInput::HungUp { of } => self.hung_up(&of, now),
            GatewayInput::FromBroker { of, bytes } => self.from_broker(&of, &bytes, now),
            GatewayInput::WrittenToBroker { of, count, sum } => {
                let same = self.is_same(&of, self.to_broker(&of), count, sum);
                self.written_to_broker(&of, count, now);
                return same;
            }
            GatewayInput::NotWrittenToBroker { of } => self.not_written_to_broker(&of, now),
            GatewayInput::BrokerGone { of } => self.broker_gone(&of, now),
            GatewayInput::SocketOpened { of } => self.socket_opened(&of, now),
            GatewayInput::SocketClosed { of, why } => self.socket_closed(&of, &why, now),
            GatewayInput::SocketReceived { of, bytes, more } => {
                self.socket_received(&of, &bytes, more, now)
            }
            GatewayInput::SocketWritten { of, count, sum } => {
                let same = self.is_same(&of, self.to_socket(&of), count, sum);
                self.socket_written(&of, count, now);
                return same;
            }
            GatewayInput::SetRoom { of, room } => self.set_room(&of, room, now),
            GatewayInput::LogOpened { of, found } => drop(self.log_opened(&of, *found, now)),
            GatewayInput::LogNotOpened { of, error } => self.log_not_opened(&of, error, now),
            GatewayInput::LogFailing { of, error } => self.log_failing(&of, error, now),
            GatewayInput::LogLost { of } => drop(self.log_lost(&of, now)),
            GatewayInput::LogLeft { of, there } => {
                self.log_left(&of, |token| there.contains(&token), now)
            }
            GatewayInput::Kept { of, token, message, is } => {
                self.kept(&of, token, &message, is, now)
            }
            GatewayInput::TakeStored { of, messages, last } => {
                drop(self.take_stored(&of, messages, last, now))
            }
            GatewayInput::Suspend { of } => drop(self.suspend(&of, now)),
            GatewayInput::Suspended { of } => self.suspended(&of, now),
            GatewayInput::MemoryFailing { error } => self.memory_failing(error, now),
            GatewayInput::TakeLog { of } => _ = self.take_log(of, now),
            GatewayInput::GiveUpCalls { of, calls } => self.give_up_calls(&of, calls, now),
            GatewayInput::SendFromLog { log, messages, last } => {
                self.send_from_log(log, messages, last, now)
            }
            GatewayInput::GiveUpLog { log } => self.give_up_log(log, now),
            GatewayInput::TakeForLegacy { of } => _ = self.take_for_legacy(&of, now),
            GatewayInput::Status => drop(self.status(now)),
            GatewayInput::Wake { of } => self.wake(&of, now),
            GatewayInput::Reload(reloaded) => self.reload(*reloaded, now),
            GatewayInput::NotReloaded { findings } => self.not_reloaded(findings, now),
            GatewayInput::Finish { limit } => self.finish(limit, now),
            GatewayInput::ReceivedLast { of, bytes } => self.received_last(&of, &bytes, now),
            GatewayInput::LeaveBroker { of } => self.leave_broker(&of, now),
            GatewayInput::LeaveBrokerAtLast => self.leave_broker_at_last(now),
            GatewayInput::Ended { of } => self.ended(&of, now),
            GatewayInput::FinishOwnSession => self.finish_own_session(now),
            GatewayInput::LastRecord => drop(self.last_record(now)),
        }
        Ok(())
    }

    fn is_same(
        &self,
        of: &DomainName,
        bytes: Option<&[u8]>,
        count: usize,
        sum: Sum,
    ) -> Result<(), Difference> {
        if self.sum_of(of, bytes, count) == sum {
            return Ok(());
        }
        let recorded = format!("{count} other bytes to be written for {of}");
        let now = String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        Err(Difference { recorded, now })
    }
}
