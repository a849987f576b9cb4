//! Client and server over real sockets in a folder.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    protocol::{Code, Refused},
    *,
};
use crate::device_report::{Report, samples};

const ALL: Request = Request::Holders { devices: Vec::new() };

pub(super) fn place(folder: &Path) -> Place {
    Place(vec![folder.join("p2p-trace")])
}

/// Creates a folder with the mode that tracers use, whatever the umask.
fn make_folder(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn make_socket(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    listener
}

fn server(place: &Place) -> Server {
    Server::start(place, |_request| Ok(samples::report())).unwrap()
}

/// The server's answer to these bytes.
fn answer(server: &Server, bytes: &[u8]) -> Result<Report, Refused> {
    let mut stream = UnixStream::connect(server.path()).unwrap();
    // The server may refuse the request before it has read everything.
    stream.write_all(bytes).unwrap_or_default();
    let mut line = Vec::new();
    let _end = stream.read_to_end(&mut line);
    protocol::read_response(&line)
}

#[test]
fn a_running_tracer_answers() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    assert!(ask(&place, &ALL).report.is_none(), "no tracer runs");
    let server = server(&place);
    for _ in 0..3 {
        let asked = ask(&place, &ALL);
        assert!(asked.errors.is_empty(), "{:?}", asked.errors);
        assert_eq!(asked.report, Some(samples::report()));
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(server.path()), 0o600);
    assert_eq!(mode(server.path().parent().unwrap()) & 0o022, 0);
    let path = server.path().to_owned();
    drop(server);
    assert!(!path.exists());
    assert!(ask(&place, &ALL).report.is_none());
}

#[test]
fn the_request_reaches_the_tracer_and_its_error_is_returned() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let _server = Server::start(&place, |request| Err(format!("{request:?} is too much"))).unwrap();
    let devices = vec!["0000:03:00.0".parse().map(p2p_trace_model::event::names::Bdf).unwrap()];
    let asked = ask(&place, &Request::Holders { devices });
    assert!(asked.report.is_none());
    let [error] = &asked.errors[..] else { panic!("{asked:?}") };
    let text = error.to_string();
    assert!(text.contains("bus: 3") && text.contains("is too much"), "{text}");
    assert_eq!(error.pid, std::process::id());
}

#[test]
fn refuses_invalid_requests_and_answers_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let server = server(&place);
    let code = |bytes: &[u8]| answer(&server, bytes).unwrap_err().code;
    assert_eq!(code(b"\n"), Code::BadRequest);
    assert_eq!(code(b"\xff\xfe\0\n"), Code::BadRequest);
    assert_eq!(code(b"{\"version\":2,\"request\":\"holders\"}\n"), Code::Version);
    assert_eq!(code(b"{\"version\":1,\"request\":\"reboot\"}\n"), Code::BadRequest);
    let nested = b"[".repeat(60_000);
    assert_eq!(code(&[&nested[..], b"\n"].concat()), Code::BadRequest);
    // Too long: the server refuses it, or closes the connection.
    assert!(answer(&server, &vec![b'x'; protocol::MAX_REQUEST * 4]).is_err());
    drop(UnixStream::connect(server.path()).unwrap());
    assert_eq!(ask(&place, &ALL).report, Some(samples::report()));
}

#[test]
fn a_silent_client_does_not_block_others() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let server = server(&place);
    let mut silent = UnixStream::connect(server.path()).unwrap();
    let dripping = UnixStream::connect(server.path()).unwrap();
    let drip = thread::spawn(move || {
        let mut dripping = dripping;
        while dripping.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let started = Instant::now();
    assert_eq!(ask(&place, &ALL).report, Some(samples::report()));
    assert!(started.elapsed() < Duration::from_secs(10));
    let mut line = Vec::new();
    silent.read_to_end(&mut line).unwrap();
    assert_eq!(protocol::read_response(&line).unwrap_err().code, Code::BadRequest);
    drip.join().unwrap();
}

#[test]
fn the_socket_of_a_dead_tracer_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let server = server(&place);
    let stale = server.path().with_file_name("4000000.sock");
    drop(make_socket(&stale));
    let foreign = server.path().with_file_name("notes.txt");
    fs::write(&foreign, "").unwrap();
    // The stale socket is the newest, so it is asked first.
    assert_eq!(ask(&place, &ALL).report, Some(samples::report()));
    assert!(!stale.exists() && foreign.exists() && server.path().exists());
}

#[test]
fn a_tracer_with_another_version_is_an_error_with_its_pid() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    make_folder(&place.0[0]);
    let listener = make_socket(&place.0[0].join("7.sock"));
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Closing a connection with unread data would reset it for the client.
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(b"{\"version\":2,\"report\":{}}\n").unwrap();
    });
    let asked = ask(&place, &ALL);
    other.join().unwrap();
    let text = asked.errors[0].to_string();
    assert!(text.contains("process id 7") && text.contains("version 2"), "{text}");
}

#[test]
fn a_folder_that_others_can_write_to_is_not_used_for_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let start = |place: &Place| Server::start(place, |_request| Ok(samples::report()));
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let linked = folder.path().join("linked");
    symlink(folder.path(), &linked).unwrap();
    for path in [&open, &linked, &folder.path().join("a/b")] {
        let error = start(&Place(vec![path.clone()])).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    let fallback = folder.path().join("user");
    let server = start(&Place(vec![open, fallback.clone()])).unwrap();
    assert!(server.path().starts_with(&fallback));
}

#[test]
fn root_uses_only_the_system_folder() {
    let user = || Some("/run/user/1000".into());
    assert_eq!(Place::of_user(true, user()).0, [Path::new("/run/p2p-trace")]);
    let own = Path::new("/run/user/1000/p2p-trace");
    assert_eq!(Place::of_user(false, user()).0, [Path::new("/run/p2p-trace"), own]);
    assert_eq!(Place::of_user(false, Some("here".into())).0, [Path::new("/run/p2p-trace")]);
}

#[test]
fn other_files_with_the_name_of_a_socket_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let server = server(&place);
    let named = |name: &str| place.0[0].join(name);
    fs::write(named("1.sock"), "a file").unwrap();
    let elsewhere = folder.path().join("elsewhere");
    drop(make_socket(&elsewhere));
    symlink(&elsewhere, named("2.sock")).unwrap();
    drop(make_socket(&named("3.sock")));
    fs::set_permissions(named("3.sock"), fs::Permissions::from_mode(0o666)).unwrap();
    drop(server);
    let asked = ask(&place, &ALL);
    let mut errors: Vec<_> = asked.errors.iter().map(ToString::to_string).collect();
    errors.sort();
    let [file, link, open] = &errors[..] else { panic!("{errors:?}") };
    assert!(file.contains("process id 1 ") && file.contains("not a socket"), "{file}");
    assert!(link.contains("process id 2 ") && link.contains("not a socket"), "{link}");
    assert!(open.contains("process id 3 ") && open.contains("others can write to it"), "{open}");
    assert_eq!(fs::read_to_string(named("1.sock")).unwrap(), "a file");
    assert!(named("2.sock").is_symlink() && elsewhere.exists() && named("3.sock").exists());
}

#[test]
fn a_folder_that_others_can_write_to_is_not_searched() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let server = server(&place);
    let mode = |mode| fs::set_permissions(&place.0[0], fs::Permissions::from_mode(mode)).unwrap();
    let linked = folder.path().join("linked");
    symlink(&place.0[0], &linked).unwrap();
    assert_eq!(ask(&Place(vec![linked]), &ALL).report, None);
    mode(0o777);
    let stale = server.path().with_file_name("4000000.sock");
    drop(make_socket(&stale));
    assert_eq!(ask(&place, &ALL).report, None);
    assert!(stale.exists());
    mode(0o755);
    assert!(ask(&place, &ALL).report.is_some());
}

#[test]
fn a_tracer_that_accepts_no_connection_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    make_folder(&place.0[0]);
    let path = place.0[0].join("7.sock");
    let listener = make_socket(&path);
    rustix::net::listen(&listener, 0).unwrap();
    let waits = UnixStream::connect(&path).unwrap();
    let started = Instant::now();
    let asked = ask(&place, &ALL);
    assert!(started.elapsed() < Duration::from_secs(10));
    let [error] = &asked.errors[..] else { panic!("{asked:?}") };
    assert!(error.to_string().contains("busy"), "{error}");
    assert!(path.exists());
    drop((listener, waits));
}

#[test]
fn a_server_does_not_replace_files_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    make_folder(&place.0[0]);
    let name = format!("{}.sock", std::process::id());
    for name in [name.clone(), format!(".{name}.new")] {
        let path = place.0[0].join(name);
        fs::write(&path, "a file").unwrap();
        Server::start(&place, |_request| Ok(samples::report())).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
        fs::remove_file(&path).unwrap();
    }
    let server = server(&place);
    let path = server.path().to_owned();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another file").unwrap();
    drop(server);
    assert_eq!(fs::read_to_string(&path).unwrap(), "another file");
}
