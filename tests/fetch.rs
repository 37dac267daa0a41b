//! Downloads from a server of this test: whole, cut, resumed, wrong.

#![cfg(feature = "fetch")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
#[cfg(feature = "cli")]
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::{Compression, write::GzEncoder};
use neuropil::data::fetch::{self, Content};
use neuropil::{Error, ErrorKind};
use sha2::{Digest, Sha256};

/// What a server does with a request; without any of these, what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Sends so many bytes of the body, and closes the connection.
    Cut(usize),
    /// Sends a body of the right length with another byte in it.
    WrongByte,
    /// Sends the whole file whatever part was asked for.
    NoRanges,
    /// Sends another part than was asked for.
    OtherRange,
    Status(u16),
}

/// A server of files by name, on a port of its own.
struct Server {
    address: String,
    /// What happens to the next requests, one each.
    faults: Arc<Mutex<Vec<Fault>>>,
    /// The requests so far: name, and the first byte that was asked for.
    requests: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Server {
    fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (faults, requests) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (own_faults, own_requests) = (Arc::clone(&faults), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (name, start) = request(&stream);
                own_requests.lock().unwrap().push((name.clone(), start));
                let mut faults = own_faults.lock().unwrap();
                let fault = if faults.is_empty() { None } else { Some(faults.remove(0)) };
                // The other side may be gone.
                let _ = answer(stream, files.get(&name), start, fault);
            }
        });
        Server { address, faults, requests }
    }

    fn of(name: &str, bytes: &[u8]) -> Self {
        Server::new(BTreeMap::from([(name.to_owned(), bytes.to_vec())]))
    }

    fn will(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// The first bytes that were asked for, request by request.
    fn starts(&self) -> Vec<usize> {
        self.requests.lock().unwrap().drain(..).map(|(_, start)| start).collect()
    }
}

/// The name and the first byte that a request asks for.
fn request(stream: &TcpStream) -> (String, usize) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let name = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let range =
        lines.filter_map(|line| line.to_lowercase().strip_prefix("range: bytes=")?.trim_end_matches('-').parse().ok());
    (name, range.last().unwrap_or(0))
}

fn answer(mut stream: TcpStream, file: Option<&Vec<u8>>, start: usize, fault: Option<Fault>) -> std::io::Result<()> {
    let empty = |status: u16| format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    if let Some(Fault::Status(status)) = fault {
        return stream.write_all(empty(status).as_bytes());
    }
    let Some(file) = file else { return stream.write_all(empty(404).as_bytes()) };
    if start >= file.len() && start > 0 {
        return stream.write_all(empty(416).as_bytes());
    }
    let first = if fault == Some(Fault::NoRanges) { 0 } else { start };
    let said = if fault == Some(Fault::OtherRange) { start + 1 } else { start };
    let status =
        if first > 0 { format!("206 x\r\nContent-Range: bytes {said}-{}/*", file.len() - 1) } else { "200 x".into() };
    let mut body = file[first..].to_vec();
    if fault == Some(Fault::WrongByte) {
        body[0] ^= 1;
    }
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body[..if let Some(Fault::Cut(length)) = fault { length.min(body.len()) } else { body.len() }])
}

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("neuropil-fetch-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bytes() -> Vec<u8> {
    (0..300_000u64).map(|i| ((i * i) >> 7) as u8).collect()
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fetches the file `data` to the folder.
fn get(server: &Server, folder: &Folder, sha256: &str) -> Result<(), Error> {
    let mut progress = |progress: fetch::Progress| {
        assert!(progress.file == "data" && progress.total.is_none_or(|total| progress.done <= total));
    };
    fetch::file(&format!("{}/data", server.address), &folder.0.join("data"), Content::Bytes(sha256), &mut progress)
}

#[test]
fn a_file_is_fetched_once() {
    let (server, folder) = (Server::of("data", &bytes()), Folder::new());
    for _ in 0..2 {
        get(&server, &folder, &sum(&bytes())).unwrap();
        assert_eq!((fs::read(folder.0.join("data")).unwrap(), folder.names()), (bytes(), vec!["data".to_owned()]));
    }
    assert_eq!(server.starts(), [0]);
    // A file that is damaged is fetched again.
    fs::write(folder.0.join("data"), b"damaged").unwrap();
    get(&server, &folder, &sum(&bytes())).unwrap();
    assert_eq!((fs::read(folder.0.join("data")).unwrap(), server.starts()), (bytes(), vec![0]));
}

#[test]
fn a_cut_connection_is_opened_again_where_it_was_cut() {
    let (server, folder) = (Server::of("data", &bytes()), Folder::new());
    server.will(&[Fault::Cut(100_000), Fault::Cut(50_000), Fault::Status(503), Fault::Cut(0)]);
    get(&server, &folder, &sum(&bytes())).unwrap();
    assert_eq!(fs::read(folder.0.join("data")).unwrap(), bytes());
    assert_eq!(server.starts(), [0, 100_000, 150_000, 150_000, 150_000]);
}

#[test]
fn what_was_cut_for_good_is_kept_for_the_next_time() {
    let (server, folder) = (Server::of("data", &bytes()), Folder::new());
    server.will(&[Fault::Cut(1000); 5]);
    let error = get(&server, &folder, &sum(&bytes())).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cut after 5000 of 300000 bytes") && text.contains("run this again"), "{text}");
    assert_eq!((error.kind(), folder.names()), (ErrorKind::Io, vec!["data.part".to_owned()]));
    server.starts();
    get(&server, &folder, &sum(&bytes())).unwrap();
    assert_eq!((server.starts(), folder.names()), (vec![5000], vec!["data".to_owned()]));
    assert_eq!(fs::read(folder.0.join("data")).unwrap(), bytes());
}

#[test]
fn servers_without_ranges_send_all_of_it_again() {
    for fault in [Fault::NoRanges, Fault::OtherRange] {
        let (server, folder) = (Server::of("data", &bytes()), Folder::new());
        fs::write(folder.0.join("data.part"), &bytes()[..70_000]).unwrap();
        server.will(&[fault]);
        let fetched = get(&server, &folder, &sum(&bytes()));
        if fault == Fault::NoRanges {
            fetched.unwrap();
            assert_eq!(fs::read(folder.0.join("data")).unwrap(), bytes());
        } else {
            let text = fetched.unwrap_err().to_string();
            assert!(text.contains("the server says 206"), "{text}");
            assert!(!folder.0.join("data").exists());
        }
    }
}

#[test]
fn wrong_bytes_never_get_the_name() {
    let (server, folder) = (Server::of("data", &bytes()), Folder::new());
    server.will(&[Fault::WrongByte]);
    let error = get(&server, &folder, &sum(&bytes())).unwrap_err();
    let text = error.to_string();
    assert!(
        error.kind() == ErrorKind::Format && text.contains("/data: has other bytes") && text.contains("mirror"),
        "{text}"
    );
    assert_eq!((folder.names(), server.starts()), (vec![], vec![0]));

    // What an earlier download left may be of another file: it is taken once more, from the start.
    for left in [vec![7; 1000], bytes()[1..].to_vec(), vec![7; 400_000]] {
        fs::write(folder.0.join("data.part"), &left).unwrap();
        get(&server, &folder, &sum(&bytes())).unwrap();
        assert_eq!((fs::read(folder.0.join("data")).unwrap(), server.starts()), (bytes(), vec![left.len(), 0]));
        fs::remove_file(folder.0.join("data")).unwrap();
    }
    // All of it was there, but for its name.
    fs::write(folder.0.join("data.part"), bytes()).unwrap();
    get(&server, &folder, &sum(&bytes())).unwrap();
    assert_eq!(server.starts(), [bytes().len()]);
}

#[test]
fn refusals_are_errors_at_once() {
    let (server, folder) = (Server::of("other", &bytes()), Folder::new());
    let text = get(&server, &folder, &sum(&bytes())).unwrap_err().to_string();
    assert!(text.contains("the server says 404") && text.contains("mirror"), "{text}");
    assert_eq!(server.starts(), [0]);
    let wrong = fetch::file("no address", &folder.0.join("data"), Content::Bytes(""), &mut |_| ()).unwrap_err();
    assert!(wrong.kind() == ErrorKind::Config && wrong.to_string().contains("no address"), "{wrong}");
    // Nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = fetch::file(&format!("http://{address}/x"), &folder.0.join("data"), Content::Bytes(""), &mut |_| ());
    let text = nobody.unwrap_err().to_string();
    assert!(text.contains("the server does not answer") && text.contains("check the network"), "{text}");
}

#[test]
fn packed_files_are_checked_by_what_is_in_them() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let (server, folder) = (Server::of("data.gz", &packed), Folder::new());
    let (url, path) = (format!("{}/data.gz", server.address), folder.0.join("data.gz"));
    server.will(&[Fault::Cut(1000)]);
    fetch::file(&url, &path, Content::Packed(&sum(&bytes())), &mut |_| ()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), packed);
    fs::remove_file(&path).unwrap();
    server.will(&[Fault::WrongByte]);
    let text = fetch::file(&url, &path, Content::Packed(&sum(&bytes())), &mut |_| ()).unwrap_err().to_string();
    assert!(text.contains("no gzip"), "{text}");
}

/// The command says which file has the wrong bytes, and leaves none.
#[test]
#[cfg(feature = "cli")]
fn the_command_checks_what_it_gets() {
    let names = ["train-images", "train-labels", "t10k-images", "t10k-labels"];
    let suffix = |name: &str| format!("{name}-idx{}-ubyte.gz", if name.ends_with("images") { 3 } else { 1 });
    let server = Server::new(names.iter().map(|name| (suffix(name), b"no images".to_vec())).collect());
    let folder = Folder::new();
    let output = Command::new(env!("CARGO_BIN_EXE_neuropil"))
        .args(["data", "fetch", "mnist", "--mirror", &server.address, "--data-dir"])
        .arg(&folder.0)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("error: ") && text.contains("train-images-idx3-ubyte.gz: has other bytes"), "{text}");
    assert_eq!((output.status.code(), fs::read_dir(folder.0.join("mnist")).unwrap().count()), (Some(2), 0));
}
