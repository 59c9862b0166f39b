//! What a station tells of itself: for the status, and what it holds.

use super::super::hub::ToHub;
use super::{Life, Station, ToSupervisor};
use crate::translate::status::{Report, State};

impl Station {
    /// Reports, if there is something new.
    pub(super) fn report(&mut self, life: &mut Life) {
        let now = self.clock.now().monotonic;
        let connected = life.port.is_connected();
        if !life.reporter.is_due(self.proxy.view(connected), now) {
            return;
        }
        // A full mailbox has refusals to publish first. Nothing is lost, for the next report has it all.
        let Ok(room) = self.hub.try_reserve() else { return life.reporter.hold_back(now) };
        let heard = self.proxy.take_heard();
        let report = life.reporter.report(self.proxy.view(connected), heard, now);
        room.send(ToHub::Domain(self.proxy.shown_as(), report));
    }

    /// The last report: the channel is given up, or carries MQTT from here on.
    pub(super) async fn report_the_end(&mut self, state: State) {
        let heard = self.proxy.take_heard();
        let view = self.proxy.view(false);
        let (calls, counters, dropped) = (view.calls, view.counters.clone(), view.dropped);
        let report = Report { state, calls, counters, dropped, heard, ended: true };
        let _ = self.hub.send(ToHub::Domain(self.proxy.shown_as(), report)).await;
    }

    /// Keeps the supervisor's account near enough to what is held.
    pub(super) fn tell_what_is_held(&self, life: &mut Life) {
        const STEP: usize = 32 * 1024;
        let connect = life.connect.as_ref().map_or(0, |connect| connect.packet.len());
        let held = self.proxy.held() + life.carrier.held() + connect;
        if held / STEP != life.told / STEP {
            life.told = held;
            let _ = self.supervisor.send(ToSupervisor::Holds(self.name.clone(), held));
        }
    }
}
