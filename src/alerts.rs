//! What alerts have found and told: pure rules of when somebody is told (`state`), what is told (`message`), and the file that
//! keeps both, so that a restart neither tells twice nor forgets (`store`).
//!
//! It knows no SQL, no clock and nobody to send to: who evaluates conditions gives what they say, and who delivers what
//! became of it.

mod message;
mod state;
mod store;

pub use message::{Message, SHOWN_ROWS, ShownRow};
pub use state::{AlertState, Event, Failing, Found, Phase, Rules, next_attempt_us, step};
pub use store::{AlertStore, Delivery, DeliveryState, Telling};
