//! Small requests, as many as a server answers: by wrk, on 64 connections that stay open.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::body::Body;
use crate::peer::{Peer, Places, target_in};
use crate::process::settle;
use crate::report::Row;
use crate::transfers::{Round, in_turn, names};

const CONNECTIONS: &str = "64";
const SECONDS: &str = "2";

/// What nginx says instead of a source, in as many bytes.
pub(crate) fn fixed_reply() -> String {
    let link = |token: &str| {
        let id = "01234567-89ab-8def-8123-456789abcdef";
        format!(
            "http://127.0.0.1:32768/v1/sources/{id}?token={}",
            token.repeat(16)
        )
    };
    let (upload, download) = (link("01"), link("23"));
    format!(r#"{{"source":{{"upload_url":"{upload}","download_url":"{download}"}}}}"#)
}

/// Requests that wrk had answered each second; it fails on any that was no success.
fn wrk(places: &Places, arguments: &[&str]) -> f64 {
    let output = Command::new(places.wrk())
        .args(["-t", "2", "-c", CONNECTIONS, "-d", SECONDS])
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let has_failed = told.contains("Non-2xx") || told.contains("Socket errors");
    assert!(output.status.success() && !has_failed, "{told}");
    let (_, rate) = told.split_once("Requests/sec:").unwrap();
    rate.split_whitespace().next().unwrap().parse().unwrap()
}

/// Downloads of 1 KiB. The limit takes no uploads here, so it is given the file.
pub(crate) fn get(places: &Places, rounds: usize, peers: &[&Peer], limit: &Peer, row: &mut Row) {
    let body = Body::new(1024, 0);
    let sum = body.sha256();
    let mut paths: Vec<_> = peers
        .iter()
        .map(|peer| {
            let target = peer.targets(1).remove(0);
            peer.put(&mut peer.connect(), &target, &body, &sum);
            target.get
        })
        .collect();
    paths.push("/archive".to_owned());
    limit.place("archive", body.piece(0));
    settle(&places.room);
    let peers = [peers, &[limit]].concat();
    in_turn(rounds, &names(&peers), row, |index| {
        let (peer, path) = (peers[index], &paths[index]);
        peer.connect().get(path, &body);
        let url = format!("http://{}{path}", peer.address);
        Round::of(wrk(places, &[&url]))
    });
}

/// Creations of sources, by servers each with a bearer, beside a fixed answer of the same size to the same
/// request.
pub(crate) fn post(places: &Places, rounds: usize, asked: &[(&str, &Peer, &str)], row: &mut Row) {
    let names: Vec<_> = asked.iter().map(|(name, ..)| *name).collect();
    let scripts: Vec<_> = asked
        .iter()
        .enumerate()
        .map(|(index, (_, _, bearer))| script(&places.room, index, bearer))
        .collect();
    in_turn(rounds, &names, row, |index| {
        let (_, server, bearer) = asked[index];
        let headers = format!("Authorization: Bearer {bearer}\r\n");
        let mut connection = server.connect();
        let (answer, body) = connection.ask("POST", "/v1/sources", &headers, "");
        assert_eq!((answer.status, body.len()), (201, fixed_reply().len()));
        target_in(&body);
        let url = format!("http://{}/v1/sources", server.address);
        Round::of(wrk(places, &["-s", &scripts[index], &url]))
    });
}

fn script(room: &Path, index: usize, bearer: &str) -> String {
    let file = room.join(format!("post-{index}.lua"));
    let text =
        format!("wrk.method = \"POST\"\nwrk.headers[\"Authorization\"] = \"Bearer {bearer}\"\n");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}
