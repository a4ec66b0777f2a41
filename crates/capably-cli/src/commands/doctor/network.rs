//! The checks of proxy, name, TCP and TLS.

use super::report::{Outcome, Report};
use crate::{
    clock,
    dial::{self, Address, DialError, Step},
    failure::{Exit, Failure},
};

/// A certificate that ends sooner gives a warning, in days.
const SOON: i64 = 14;

/// Checks each step of a connection. Returns whether all succeeded.
pub(super) async fn check(address: &Address, report: &mut Report) -> Result<bool, Failure> {
    let stream = match dial::proxy(address) {
        Err(error) => {
            failed(error, report)?;
            return skip(report, &["name", "tcp", "tls"]);
        }
        Ok(Some(proxy)) => {
            let place = format!("{}:{}", proxy.host(), proxy.port());
            report
                .ok("proxy", &format!("the environment names the proxy {place}, which is used"))?;
            report.skipped("name", "the proxy resolves the name")?;
            match dial::tunnel(&proxy, address).await {
                Ok(stream) => {
                    let authority = address.authority();
                    report.ok("tcp", &format!("the proxy opens a tunnel to {authority}"))?;
                    stream
                }
                Err(DialError { message, remedy, .. }) => {
                    let outcome = Outcome::Failed { exit: Exit::Unreachable, code: None, remedy };
                    report.add("tcp", &message, outcome)?;
                    return skip(report, &["tls"]);
                }
            }
        }
        Ok(None) => {
            report.ok("proxy", &format!("no proxy is used for {}", address.host))?;
            let addresses = match dial::resolve(&address.host, address.port).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    failed(error, report)?;
                    return skip(report, &["tcp", "tls"]);
                }
            };
            let shown: Vec<String> = addresses.iter().map(|found| found.ip().to_string()).collect();
            report.ok("name", &format!("{} is {}", address.host, shown.join(", ")))?;
            match dial::tcp(&addresses).await {
                Ok(stream) => {
                    report.ok("tcp", &format!("port {} accepts a connection", address.port))?;
                    stream
                }
                Err(error) => {
                    failed(error, report)?;
                    return skip(report, &["tls"]);
                }
            }
        }
    };
    if !address.tls {
        report.skipped("tls", "the connection has no TLS")?;
        return Ok(true);
    }
    match dial::secure(stream, address).await {
        Err(error) => {
            failed(error, report)?;
            Ok(false)
        }
        Ok((_, validity)) => {
            let left = validity.map(|validity| validity.not_after - clock::now());
            let until = validity.map_or_else(String::new, |validity| {
                format!(" until {}", clock::date(validity.not_after))
            });
            let message = format!("the certificate of {} is valid{until}", address.host);
            let outcome = match left {
                Some(left) if left < SOON * 86_400_000 => {
                    let remedy = "the operator of the service must renew it soon";
                    Outcome::Warning { remedy: remedy.to_owned() }
                }
                _ => Outcome::Ok,
            };
            report.add("tls", &message, outcome)?;
            Ok(true)
        }
    }
}

fn failed(error: DialError, report: &mut Report) -> Result<(), Failure> {
    let check = match error.step {
        Step::Proxy => "proxy",
        Step::Name => "name",
        Step::Tcp => "tcp",
        Step::Tls => "tls",
    };
    let outcome = Outcome::Failed { exit: Exit::Unreachable, code: None, remedy: error.remedy };
    report.add(check, &error.message, outcome)
}

fn skip(report: &mut Report, checks: &[&'static str]) -> Result<bool, Failure> {
    for check in checks {
        report.skipped(check, "an earlier step failed")?;
    }
    Ok(false)
}
