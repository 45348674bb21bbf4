//! The servers of a store, and what is done to them.

use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use futures_util::future::join_all;
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::task::yield_now;
use tower::ServiceExt;
use waystation::clock::{Clock, FakeClock, Timestamp};
use waystation::public_url::PublicUrl;
use waystation::service::api_tokens::{ApiTokens, TokenId};
use waystation::service::users::{UserId, Users};
use waystation::store::Store;

use super::ledger::Attempt;
use super::moves::{APPS, Report};
use crate::model::place::Place;
use crate::model::run::START;
use crate::model::service::Service;
use crate::model::trouble::Trouble;

pub(crate) const BASE: &str = "http://x.example";
/// How long anything may take that is only waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer; status 0 is none.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) const LOST: Self = Self {
        status: 0,
        body: Vec::new(),
    };

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Did it not come, or is it an error that trouble of the store explains?
    pub(crate) fn is_trouble(&self) -> bool {
        matches!(self.status, 0 | 500 | 503 | 507)
    }
}

/// A move, with all that it needs.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Deploy {
        wish: usize,
        app: usize,
        mark: String,
        link: String,
    },
    Cancel {
        id: String,
        app: usize,
    },
    DeleteApp(usize),
    Claim(usize),
    Report(Sending),
    Upkeep,
    Sweep,
}

/// A report that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) attempt: usize,
    pub(crate) report_path: String,
    pub(crate) source_path: String,
    pub(crate) report: Report,
    pub(crate) offset: usize,
    pub(crate) piece: Vec<u8>,
    /// It was sent before, and may have come.
    pub(crate) is_repeated: bool,
}

/// What came of a deed.
pub(crate) enum Outcome {
    Replies(Vec<Reply>),
    Claimed(Option<Attempt>),
    Failed,
    Done,
}

pub(crate) struct Nodes {
    clock: FakeClock,
    /// None between two servers.
    pub(crate) services: Vec<Service>,
    pub(crate) trouble: Trouble,
    user_token: String,
    runner: Option<TokenId>,
    /// The ids of the applications.
    pub(crate) apps: Vec<String>,
}

fn name_of(app: usize) -> String {
    format!("model-{app}")
}

impl Nodes {
    /// Servers on an empty store, with a user, a runner's token, and applications.
    pub(crate) async fn new(place: &Place, clock: FakeClock) -> Result<Self, String> {
        let mut nodes = Self {
            clock,
            services: Vec::new(),
            trouble: Trouble::default(),
            user_token: String::new(),
            runner: None,
            apps: Vec::new(),
        };
        nodes.open(place).await?;
        let store = nodes.store();
        let users = Users::new(store.clone());
        users.add("ada", "", START).await.unwrap();
        let tokens = ApiTokens::new(store);
        let made = tokens.create("a test", UserId::of("ada"), START).await;
        made.unwrap().1.reveal().clone_into(&mut nodes.user_token);
        let runner = tokens.create_for_runners("a runner", START).await;
        nodes.runner = Some(runner.unwrap().0.id);
        for app in 0..APPS {
            let body = json!({ "app": { "name": name_of(app) } }).to_string();
            let made = nodes.ask(0, Method::POST, "/v1/apps", body).await;
            let id = made.json()["app"]["id"]
                .as_str()
                .ok_or(format!("{made:?}"))?
                .to_owned();
            nodes.apps.push(id);
        }
        Ok(nodes)
    }

    pub(crate) fn store(&self) -> Store {
        self.services[0].store.clone()
    }

    pub(crate) fn now(&self) -> Timestamp {
        Clock::Fake(self.clock.clone()).now()
    }

    /// All servers are gone, with what they did in the background.
    pub(crate) async fn close(&mut self) -> Result<(), String> {
        self.services.clear();
        let started_at = Instant::now();
        while !self.trouble.is_alone() {
            if started_at.elapsed() > PATIENCE {
                return Err("a server does not end".to_owned());
            }
            yield_now().await;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Starts servers: one on a folder, and two on a bucket.
    pub(crate) async fn open(&mut self, place: &Place) -> Result<(), String> {
        self.trouble = Trouble::default();
        let nodes = match place {
            Place::Folder(_) => 1,
            Place::Bucket(_) => 2,
        };
        let started_at = Instant::now();
        while self.services.len() < nodes {
            match place.open(&self.trouble).await {
                Ok((store, _)) => self.services.push(Service::on(store, &self.clock)),
                // The lock of the last server is released last of all.
                Err(_) if started_at.elapsed() < PATIENCE => std::thread::yield_now(),
                Err(error) => return Err(format!("cannot start: {error:?}")),
            }
        }
        Ok(())
    }

    pub(crate) async fn perform(&self, node: usize, deed: &Deed) -> Outcome {
        let node = node % self.services.len();
        let one = |reply| Outcome::Replies(vec![reply]);
        match deed {
            Deed::Deploy {
                app, mark, link, ..
            } => {
                let path = format!("/v1/apps/{}/deployments", self.apps[*app]);
                let body = json!({ "deployment": { "source_url": link, "git_ref": mark } });
                one(self.ask(node, Method::POST, &path, body.to_string()).await)
            }
            Deed::Cancel { id, app } => {
                let path = format!("/v1/apps/{}/deployments/{id}/cancel", self.apps[*app]);
                one(self.ask(node, Method::POST, &path, "").await)
            }
            Deed::DeleteApp(app) => {
                let path = format!(
                    "/v1/apps/{}?current_name={}",
                    self.apps[*app],
                    name_of(*app)
                );
                one(self.ask(node, Method::DELETE, &path, "").await)
            }
            Deed::Claim(_) => self.claim(node).await,
            Deed::Report(sending) => self.report(node, sending).await,
            Deed::Upkeep => {
                let kept = self.services[node].app.service.deployments.keep_up().await;
                kept.map_or(Outcome::Failed, |()| Outcome::Done)
            }
            Deed::Sweep => {
                let swept = self.services[node].store.sweep(self.now()).await;
                swept.map_or(Outcome::Failed, |_| Outcome::Done)
            }
        }
    }

    /// One look for work.
    pub(crate) async fn claim(&self, node: usize) -> Outcome {
        let base: PublicUrl = BASE.parse().unwrap();
        let deployments = &self.services[node].app.service.deployments;
        let runner = self.runner.expect("it was made at the start");
        match deployments
            .wait_for_claim(runner, &base, Duration::ZERO)
            .await
        {
            Ok(claimed) => Outcome::Claimed(claimed.map(|claimed| Attempt {
                id: claimed.deployment.id.to_string(),
                report_path: path_of(claimed.report_url.reveal()).to_owned(),
                source_path: path_of(claimed.source_url.reveal()).to_owned(),
                is_heard: false,
                is_over: false,
                log: Vec::new(),
                doubt: Vec::new(),
                end: None,
                end_in_doubt: None,
            })),
            Err(_) => Outcome::Failed,
        }
    }

    pub(crate) async fn report(&self, node: usize, sending: &Sending) -> Outcome {
        let report_path = &sending.report_path;
        let log = format!("{report_path}/log?offset={}", sending.offset);
        let append = || self.call(node, Method::PUT, &log, None, sending.piece.clone());
        Outcome::Replies(match sending.report {
            Report::Fetch => {
                let path = &sending.source_path;
                vec![self.call(node, Method::GET, path, None, "").await]
            }
            Report::Status(status) => {
                let path = format!("{report_path}/status");
                let body = json!({ "status": status }).to_string();
                vec![self.call(node, Method::PUT, &path, None, body).await]
            }
            Report::LogTwice(_) => join_all([append(), append()]).await,
            Report::Heartbeat | Report::Log(_) | Report::LogOver | Report::LogBeyond => {
                vec![append().await]
            }
        })
    }

    /// A call of the user.
    pub(crate) async fn ask(
        &self,
        node: usize,
        method: Method,
        path: &str,
        body: impl Into<Body>,
    ) -> Reply {
        self.call(node, method, path, Some(&self.user_token), body)
            .await
    }

    pub(crate) async fn call(
        &self,
        node: usize,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "x.example");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(body.into()).unwrap();
        let answer = self.services[node]
            .router
            .clone()
            .oneshot(request)
            .await
            .unwrap();
        let (head, body) = answer.into_parts();
        match to_bytes(body, usize::MAX).await {
            Ok(body) => Reply {
                status: head.status.as_u16(),
                body: body.into(),
            },
            // It broke off.
            Err(_) => Reply::LOST,
        }
    }
}

/// What was answered by a server that was killed meanwhile nobody heard.
pub(crate) fn lost(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Replies(replies) => Outcome::Replies(vec![Reply::LOST; replies.len()]),
        Outcome::Claimed(_) | Outcome::Failed | Outcome::Done => Outcome::Done,
    }
}

pub(crate) fn path_of(url: &str) -> &str {
    url.strip_prefix(BASE).unwrap()
}
