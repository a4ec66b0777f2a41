//! `capably request`.

use std::path::Path;

use capably::{
    Error, ErrorCode,
    http::HttpMethod,
    rest::{HttpPaginatedResponse, HttpRequestBuilder},
};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    data_options::read_file,
    failure::Failure,
    output::{Output, notice},
    service::Service,
};

/// Send any REST request with the key, and print its status and its body
#[derive(Debug, Args)]
#[command(after_help = "\
The status is written to stderr, and each item of the body to stdout: the elements of
an array, or the body itself. With --json, one object has the status, the headers and
the items. A refusal is an error, and its body is printed, too.

Examples:
  capably request GET /time
  capably request GET '/channels/greetings/messages?limit=2'
  capably request POST /channels/greetings/messages -d '{\"name\":\"n\",\"data\":\"hello\"}'
  capably request GET /stats --param unit=hour --json | jq .items")]
pub(crate) struct Request {
    /// Method: GET, POST, PUT, PATCH or DELETE
    #[arg(value_parser = method)]
    method: HttpMethod,

    /// Path, percent-encoded, with or without a query
    path: String,

    /// Body, as JSON; @FILE reads it from a file, @- from standard input
    #[arg(long, short, value_name = "JSON")]
    data: Option<String>,

    /// Add a header; repeat the option to add several
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = pair::<':'>)]
    header: Vec<(String, String)>,

    /// Add a parameter to the query; repeat the option to add several
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair::<'='>)]
    param: Vec<(String, String)>,

    /// Print one JSON object with the status, the headers and the items
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Request {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut request: HttpRequestBuilder = self.service.rest()?.request(self.method, &self.path);
        if let Some(body) = &self.data {
            let text = match body.strip_prefix('@') {
                Some(path) => read_file(Path::new(path))?,
                None => body.clone().into_bytes(),
            };
            let body: Value = serde_json::from_slice(&text)
                .map_err(|error| Failure::usage(format!("the body is not JSON: {error}")))?;
            request = request.body(body);
        }
        for (name, value) in &self.header {
            request = request.header(name, value);
        }
        for (name, value) in &self.param {
            request = request.param(name, value);
        }
        let response = request.await?;
        let mut output = Output::stdout();
        if self.json {
            let headers: Map<String, Value> = response
                .headers()
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), json!(value)))
                .collect();
            output.json(json!({
                "status": response.status(), "headers": headers, "items": response.items(),
            }))?;
        } else {
            notice(format_args!("Status {}", response.status()));
            for item in response.items() {
                output.json(item)?;
            }
        }
        output.flush()?;
        succeeded(response).map(drop)
    }
}

/// The response of a success.
///
/// # Errors
/// The service's reason for another status.
pub(crate) fn succeeded(response: HttpPaginatedResponse) -> Result<HttpPaginatedResponse, Failure> {
    if response.is_success() {
        return Ok(response);
    }
    let status = response.status();
    // The headers have them, unless another program than the service has answered in its place.
    let body = response.items().first().map_or(&Value::Null, |body| &body["error"]);
    let code = body["code"].as_u64().and_then(|code| u32::try_from(code).ok()).map(ErrorCode);
    let code = response.error_code().or(code).unwrap_or(ErrorCode(u32::from(status) * 100));
    let message = response.error_message().or(body["message"].as_str());
    let message = match message {
        Some(message) => message.to_owned(),
        None => format!("the service answers with the status {status}"),
    };
    Err(Error::new(code, status, message).into())
}

fn method(text: &str) -> Result<HttpMethod, String> {
    let methods =
        [HttpMethod::Get, HttpMethod::Post, HttpMethod::Put, HttpMethod::Patch, HttpMethod::Delete];
    let found = methods.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "use GET, POST, PUT, PATCH or DELETE".to_owned())
}

/// A name and a value with this character between them.
pub(super) fn pair<const BETWEEN: char>(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(BETWEEN).unwrap_or_default();
    match name.trim() {
        "" => Err(format!("write a name, `{BETWEEN}` and a value")),
        name => Ok((name.to_owned(), value.trim_start().to_owned())),
    }
}
