//! Publishing (RTL6, RTN7, RTN19a).

mod acknowledging;
mod encoding;
mod frame_size;
mod refused;
mod sending;
mod time_limits;
mod window;
