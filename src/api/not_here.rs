//! Paths that the platform has and this service has not: the sentence that a user of the platform's command line reads
//! there, with what to use instead. The command line shows it as it is.

use http::Uri;

use super::problem::Problem;

/// What stands behind `/v1/`, or behind `/v1/apps/{app}/`, and the sentence for it.
#[rustfmt::skip] // A table: a row a sentence.
const SENTENCES: [(&[&str], &str); 13] = [
    (&["ps", "containers", "container_types", "stats", "metrics"],
     "this service runs no containers itself: look where the command that it deploys with has started the app; 'deployments' shows what was deployed"),
    (&["logs", "logs_archives", "log_drains"],
     "this service keeps no logs of running apps, only those of their deployments: 'deployments' lists them, 'deployment-logs' shows one"),
    (&["scale", "autoscalers", "container_sizes"],
     "this service scales nothing: set that where the command that it deploys with starts the app"),
    (&["restart"],
     "this service restarts nothing: 'deploy' the archive again, or restart the app where it runs"),
    (&["run"],
     "this service runs no one-off commands: run them where the app runs"),
    (&["domains"],
     "this service routes no domains: set them in what stands in front of the app"),
    (&["addons", "addon_providers", "databases", "database_types"],
     "this service has no addons or databases: run the database elsewhere, and give its address to the app with 'env-set'"),
    (&["collaborators"],
     "an app has one owner here, and no collaborators: those who share it share a user, each with an API token of their own"),
    (&["notifiers", "notification_platforms", "alerts", "event_types", "event_categories"],
     "this service notifies nobody: 'timeline' shows what happened to an app, 'user-timeline' to all of yours"),
    (&["cron_tasks"],
     "this service runs no scheduled tasks: schedule them where the app runs"),
    (&["scm_repo_link", "scm_integrations", "review_apps", "git", "keys"],
     "nothing is pulled or pushed by git here: pack the code, and 'deploy' the archive"),
    (&["stacks", "features", "buildpacks"],
     "this service has no stacks or buildpacks: the command that it deploys with builds the app"),
    (&["projects", "account", "operations", "region_migrations", "private_networks"],
     "this service has apps, their variables, deployments and events, and nothing of this kind"),
];

/// A call to change an app, of which only the name and the variables can be changed.
const NO_SETTINGS: &str = "an app has no settings here and stays its owner's: 'rename' gives it another name, 'env-set' sets its variables";
const NOTHING: &str = "there is nothing at this path; sources are created with POST /v1/sources, apps with POST /v1/apps";

/// The answer at any path that is not one of the API.
pub(super) async fn unknown_route(uri: Uri) -> Problem {
    Problem::unknown_route(sentence_for(uri.path()))
}

/// `PUT` and `PATCH /v1/apps/{app}`.
pub(super) async fn app_settings() -> Problem {
    Problem::unknown_route(NO_SETTINGS)
}

fn sentence_for(path: &str) -> &'static str {
    let mut segments = path.split('/').skip(1);
    let word = match (segments.next(), segments.next(), segments.nth(1)) {
        (Some("v1"), Some("apps"), Some(behind_app)) => behind_app,
        (Some("v1"), Some(first), _) if first != "apps" => first,
        _ => return NOTHING,
    };
    let mut known = SENTENCES.iter();
    let found = known.find(|(words, _)| words.contains(&word));
    found.map_or(NOTHING, |(_, sentence)| sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_has_two_sentences() {
        let mut words: Vec<_> = SENTENCES.iter().flat_map(|(words, _)| *words).collect();
        let count = words.len();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
