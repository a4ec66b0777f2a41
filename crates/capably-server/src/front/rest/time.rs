//! The server's time.

use capably_protocol::ErrorInfo;
use hyper::StatusCode;
use serde_json::json;

use super::call::Call;
use crate::front::http::reply::Reply;

/// `GET /time` (RSC16).
pub(super) async fn get(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    Ok(call.reply(StatusCode::OK, &json!([call.now.wall])))
}
