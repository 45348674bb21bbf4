//! The recipes: those that can be run here are, and all are looked at by a shell and a linter.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use waystation_testing::program::{Program, run, tools};
use waystation_testing::store_folder::entries_of;
use waystation_testing::tarball::Tarball;
use waystation_testing::{eventually, repository};

use crate::site::Site;

fn recipe(path: &str) -> PathBuf {
    repository().join("recipes").join(path)
}

/// A runner whose command is a recipe, and finds the tools of the tests.
fn runner(site: &Site, path: &str, arguments: &[&str]) -> Command {
    let script = recipe(path);
    let words = [&[script.to_str().unwrap()], arguments].concat();
    let mut command = site.runner_command(&[], &words);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", tools().join("bin").display()));
    command
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn every_script_is_one_for_the_shell_and_the_linter() {
    let is_script = |path: &PathBuf| path.is_file() && text_of(path).starts_with("#!");
    let scripts: Vec<_> = entries_of(&recipe(""))
        .into_iter()
        .filter(is_script)
        .collect();
    assert!(scripts.len() >= 11, "{scripts:?}");
    for script in &scripts {
        let name = script.display();
        let mut bash = Command::new("bash");
        bash.arg("-n").arg(script);
        assert_eq!(run(bash).code, Some(0), "{name}");
        let lines = text_of(script).lines().count();
        assert!((5..=35).contains(&lines), "{name} has {lines} lines");
    }
    let mut shellcheck = Command::new(tools().join("bin/shellcheck"));
    shellcheck.args(&scripts);
    let checked = run(shellcheck);
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
}

#[test]
fn static_switches_a_link_keeps_the_last_releases_and_rolls_back() {
    let site = Site::start();
    let root = site.room.path().join("www");
    let _runner = Program::start(runner(
        &site,
        "static/deploy",
        &[root.to_str().unwrap(), "2"],
    ));
    let page = root.join("my-shop/current/index.html");
    for version in ["one", "two", "three"] {
        let archive = Tarball::new()
            .file("app/index.html", version.as_bytes())
            .end();
        let (status, output) = site.deploy(&archive).await_end();
        assert_eq!(status, "success", "{output}");
        assert_eq!(text_of(&page), version);
    }
    let releases = fs::read_dir(root.join("my-shop/releases")).unwrap();
    let mut releases: Vec<_> = releases.map(|entry| entry.unwrap().file_name()).collect();
    releases.sort();
    assert_eq!(releases.len(), 2);
    let mut back = Command::new(recipe("static/roll-back"));
    back.arg(&root).arg("my-shop").arg(&releases[0]);
    assert_eq!(run(back).code, Some(0));
    assert_eq!(text_of(&page), "two");
}

/// Ends its services when it is told to end; killed, it could not.
struct Supervisor(Program);

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        self.0.await_end();
    }
}

#[test]
fn procfile_switches_to_a_service_that_answers_and_keeps_the_old_one_where_the_new_does_not() {
    let site = Site::start();
    let root = site.room.path().join("apps");
    // Of a release that is being taken away, the link may be seen and no more.
    fs::create_dir_all(root.join("another/run")).unwrap();
    symlink("nowhere", root.join("another/run/1")).unwrap();
    let mut supervise = Command::new(recipe("procfile/supervise"));
    supervise.arg(&root);
    let _supervisor = Supervisor(Program::start(supervise));
    let deploy = [root.to_str().unwrap(), "/index.html", "15"];
    let _runner = Program::start(runner(&site, "procfile/deploy", &deploy));
    let with = |page: &str, web: &str| {
        let procfile = format!("web: {web}\n");
        let archive = Tarball::new()
            .file("app/Procfile", procfile.as_bytes())
            .file("app/index.html", page.as_bytes());
        site.deploy(&archive.end()).await_end()
    };
    let port = || text_of(&root.join("my-shop/port")).trim().to_owned();
    let page = |port: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", &format!("http://127.0.0.1:{port}/index.html")]);
        run(curl).stdout
    };
    let web = "python3 -m http.server --bind 127.0.0.1 $PORT";
    let (status, output) = with("one\n", web);
    assert_eq!(status, "success", "{output}");
    let first = port();
    assert_eq!(page(&first), "one\n");
    let (status, output) = with("two\n", web);
    assert_eq!(status, "success", "{output}");
    let second = port();
    assert_eq!(page(&second), "two\n");
    eventually("the end of the first", || page(&first).is_empty());
    let (status, output) = with("three\n", "kill -KILL $$");
    assert_eq!(status, "crashed-error", "{output}");
    assert_eq!((port(), page(&second).as_str()), (second, "two\n"));
}

#[test]
fn procfile_says_which_service_it_cannot_start_and_why_unless_it_is_gone() {
    let room = tempfile::tempdir().unwrap();
    let at = |name: &str| room.path().join(name);
    for app in ["gone", "unreadable", "wrong"] {
        fs::create_dir_all(at(app).join("run")).unwrap();
    }
    symlink("nowhere", at("gone/run/1")).unwrap();
    // Its variables are missing.
    fs::create_dir(at("release")).unwrap();
    symlink(at("release"), at("unreadable/run/2")).unwrap();
    fs::write(at("wrong/run/3"), "no link").unwrap();
    let mut supervise = Command::new(recipe("procfile/supervise"));
    supervise.arg(room.path());
    let supervisor = Supervisor(Program::start(supervise));
    for link in ["unreadable/run/2", "wrong/run/3"] {
        let said = supervisor.0.await_line(link);
        assert!(said.starts_with("cannot start "), "{said}");
    }
    let said = supervisor.0.stderr();
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn buildah_builds_the_image_that_the_dockerfile_describes() {
    let site = Site::start();
    let room = site.room.path();
    let at = |name: &str| room.join(name).display().to_string();
    // Debian's buildah asks for a policy, which a machine with it has.
    let policy = tools().join("buildah/etc/containers/policy.json");
    let script = format!(
        "mkdir -p ~/.config/containers && cp '{}' ~/.config/containers/ && exec '{}' localhost --root '{}' --runroot '{}'",
        policy.display(),
        recipe("buildah/deploy").display(),
        at("images"),
        at("running")
    );
    let mut command = site.runner_command(&[], &["sh", "-c", &script]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", tools().join("bin").display()));
    let _runner = Program::start(command);
    let busybox = fs::read(tools().join("bin/busybox")).unwrap();
    let dockerfile = r#"FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo built here > /built"]
CMD ["/bin/busybox", "cat", "/built"]
"#;
    let header = waystation_testing::tarball::Header::new(b"app/busybox", b'0', busybox.len());
    let archive = Tarball::new()
        .file("app/Dockerfile", dockerfile.as_bytes())
        .entry(header.executable(), &busybox)
        .end();
    let deployment = site.deploy(&archive);
    let (status, output) = deployment.await_end();
    assert_eq!(status, "success", "{output}");
    let image = format!("built localhost/my-shop:{}", deployment.id);
    assert!(output.contains(&image), "{output}");
    let mut images = Command::new(tools().join("bin/buildah"));
    images.args([
        "--root",
        &at("images"),
        "--runroot",
        &at("running"),
        "images",
    ]);
    let images = run(images).stdout;
    assert!(images.contains("localhost/my-shop"), "{images}");
}
