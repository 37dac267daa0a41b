//! One file over HTTP, which goes on where it was interrupted.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode, header};

use crate::error::{Error, ErrorKind, Result};

/// How often a connection that is cut is opened again.
const ATTEMPTS: u32 = 5;
/// How long nothing may arrive.
const SILENCE: Duration = Duration::from_secs(30);
/// The most bytes that are taken.
const MAX_BYTES: u64 = 1 << 34;

/// Why an attempt ended before the file did.
enum Stop {
    /// Another attempt may go on.
    Cut(String),
    Failed(Error),
}

/// Downloads `url` to the file `part`, behind the bytes that it has; `progress` gets the bytes that are there, and how many
/// there will be, if the server says so.
///
/// # Errors
/// A server that cannot be reached, refuses, or cuts the connection again and again; a file that cannot be written.
pub(super) fn resume(url: &str, part: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<()> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .user_agent(concat!("neuropil/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = config.new_agent();
    let mut attempt = 1;
    loop {
        match take(&agent, url, part, progress) {
            Ok(()) => return Ok(()),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Cut(why)) if attempt == ATTEMPTS => {
                let text = format!(
                    "{url}: {why}, for the {ATTEMPTS}th time; check the network and run this again, which goes on from there"
                );
                return Err(Error::new(ErrorKind::Io, text));
            }
            Err(Stop::Cut(_)) => {
                thread::sleep(Duration::from_millis(100) * attempt.pow(2));
                attempt += 1;
            }
        }
    }
}

/// One attempt.
fn take(
    agent: &ureq::Agent,
    url: &str,
    part: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> std::result::Result<(), Stop> {
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(|e| failed(part, e))?;
    let mut done = file.metadata().map_err(|e| failed(part, e))?.len();
    let mut request = agent.get(url).header(header::ACCEPT_ENCODING, "identity");
    if done > 0 {
        request = request.header(header::RANGE, format!("bytes={done}-"));
    }
    let mut response = request.call().map_err(|e| unreachable(url, e))?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(response.headers(), done) => {}
        // What is there is as much as the server has, or more; the sum will tell.
        StatusCode::RANGE_NOT_SATISFIABLE if done > 0 => return Ok(()),
        StatusCode::OK => {
            file.set_len(0).map_err(|e| failed(part, e))?;
            done = 0;
        }
        status if status.is_server_error() => return Err(Stop::Cut(format!("the server says {status}"))),
        status => {
            let text = format!("{url}: the server says {status}; check the address, or name another mirror");
            return Err(Stop::Failed(Error::new(ErrorKind::Io, text)));
        }
    }
    let length = response.body().content_length();
    let total = length.map(|length| done + length);
    let mut body = response.body_mut().with_config().limit(MAX_BYTES).reader();
    let mut buffer = vec![0; 1 << 16];
    progress(done, total);
    loop {
        let length = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Stop::Cut(cut(done, total, &e.to_string()))),
        };
        file.write_all(&buffer[..length]).map_err(|e| failed(part, e))?;
        done += length as u64;
        progress(done, total);
    }
    match total {
        Some(total) if done < total => Err(Stop::Cut(cut(done, Some(total), "it ended early"))),
        _ => file.sync_all().map_err(|e| failed(part, e)),
    }
}

fn cut(done: u64, total: Option<u64>, why: &str) -> String {
    let of = total.map_or(String::new(), |total| format!(" of {total}"));
    format!("the connection was cut after {done}{of} bytes ({why})")
}

/// Whether the part that a server sends starts at byte `start`.
fn starts_at(headers: &HeaderMap, start: u64) -> bool {
    let range = headers.get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
    first == Some(start)
}

fn failed(part: &Path, error: io::Error) -> Stop {
    Stop::Failed(Error::io(part, error))
}

/// What is said where there is no answer; an address that is none is no matter of the network.
fn unreachable(url: &str, error: ureq::Error) -> Stop {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::RequireHttpsOnly(_) => {
            let text = format!("{url}: is no address ({error}); give one that starts with https://");
            Stop::Failed(Error::new(ErrorKind::Config, text))
        }
        error => Stop::Cut(format!("the server does not answer ({error})")),
    }
}
