//! `coreloop demo eco`: a photo becomes a character.
//!
//! As an app does it: sign up and in, open the socket, ask where to put a photo, put it straight into storage, say that it is there.
//! The rest comes by itself, on the socket: what the photo shows, the character, the figures, the notification. In the end the same is
//! read over REST. Every call is of one trace, and so is all that it causes.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use coreloop_config::Settings;
use coreloop_sandbox::{PHOTOS, Photo};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    api::{Api, PATIENCE},
    heard::{CLASSIFIED, Heard},
    json::{list, number, text},
    look::{Known, Place},
    person,
    socket::Socket,
    teller::Teller,
};

/// The first pause before something is read again that is not as it will be; each is twice the one before, up to the last.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Against which mesh, and as whom.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Address of the API; without it that of `cargo xtask up --envoy`, or of the settings that are given by --config.
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// Access token of an account, `-` reads it from standard input; without it an account is made.
    #[arg(long)]
    token: Option<String>,
    /// Sample photo, as `bottle.jpg`; without it one that the account has no character for.
    #[arg(long, value_name = "NAME")]
    photo: Option<String>,
    /// What the model may take, in seconds. Everything else has thirty.
    #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    within: u64,
}

/// Lives the story and prints it; in the end, or where it stopped, where to look.
///
/// # Errors
/// A step that was refused, or did not come in its time.
pub(crate) async fn run(settings: &Settings, configured: bool, arguments: Arguments) -> anyhow::Result<()> {
    let place = Place::of(settings, configured, arguments.api.as_deref())?;
    let mut api = Api::new(&place.api)?;
    let trace = api.trace().id().to_owned();
    println!("eco, at {}\ntrace {trace}\n", api.base());
    let mut known = Known::default();
    let lived = live(&mut api, &arguments, &mut known).await;
    println!("{}", place.commands(&trace, &known));
    lived
}

async fn live(api: &mut Api, arguments: &Arguments, known: &mut Known) -> anyhow::Result<()> {
    let teller = Teller::begin();
    let person = match &arguments.token {
        Some(token) => person::of_token(api, &teller, token).await?,
        None => person::sign_up(api, &teller).await?,
    };
    known.person = Some(person);
    let mut socket = Socket::open(api).await?;
    let before = begin(&mut socket, &teller).await?;
    known.since = before.seq;

    let mine = api.get("asking for characters", "/api/v1/character/me").await?;
    let photo = chosen(&mine, arguments.photo.as_deref())?;
    let image = sent(api, &teller, photo).await?;
    known.image = Some(image.clone());

    let mut heard = Heard::of(&image);
    let listened = listen(&mut socket, &teller, &mut heard, Duration::from_secs(arguments.within)).await;
    known.task.clone_from(&heard.task);
    listened?;
    read_again(api, &teller, &heard, before.recycled).await
}

/// How things were before.
struct Before {
    seq: f64,
    recycled: f64,
}

/// Hears that the socket is open, and how things are.
async fn begin(socket: &mut Socket, teller: &Teller) -> anyhow::Result<Before> {
    let mut seq = 0.0;
    loop {
        let message = socket.next(Instant::now() + PATIENCE).await?;
        let message = message.context("the socket is open and did not say how things are (initial_state)")?;
        seq = number(&message, "/seq").unwrap_or(seq);
        match text(&message, "/type") {
            "sync_connected" => teller.step("socket open", "sync_connected"),
            "initial_state" => {
                let recycled = number(&message, "/data/parts/summary/recycling/recycled").unwrap_or_default();
                let owned = number(&message, "/data/parts/summary/characters/owned").unwrap_or_default();
                let missing: Vec<&str> = list(&message, "/data/missing").filter_map(Value::as_str).collect();
                let missing =
                    if missing.is_empty() { String::new() } else { format!("; missing: {}", missing.join(", ")) };
                teller.step("initial_state", format!("{owned:.0} characters, {recycled:.0} recycled{missing}"));
                return Ok(Before { seq, recycled });
            }
            _ => {}
        }
    }
}

/// The photo of that name; else the first that shows something for which the account has no character yet.
fn chosen(mine: &Value, name: Option<&str>) -> anyhow::Result<&'static Photo> {
    if let Some(name) = name {
        let names = || PHOTOS.iter().map(|photo| photo.name).collect::<Vec<_>>().join(", ");
        return PHOTOS
            .iter()
            .find(|photo| photo.name == name)
            .with_context(|| format!("--photo: there is {}", names()));
    }
    let full = number(mine, "/owned_count").zip(number(mine, "/max_owned")).is_some_and(|(owned, most)| owned >= most);
    ensure!(!full, "the account has as many characters as one may: leave --token out, and another is made");
    // Others count scans of any category, or days in a row: one photo more is nothing to them.
    let by_one = |one: &Value| {
        let threshold = number(one, "/character/unlock/threshold");
        text(one, "/character/unlock/condition_type") == "category_count"
            && threshold.is_some_and(|threshold| threshold <= 1.0)
    };
    let grants = |photo: &&Photo| {
        let shows = |one: &Value| list(one, "/character/categories").any(|category| *category == photo.category);
        let is_missing = |one: &Value| by_one(one) && shows(one) && text(one, "/owned/code").is_empty();
        photo.sure && list(mine, "/characters").any(is_missing)
    };
    let found = PHOTOS.iter().find(grants);
    found
        .context("the account has every character that the sample photos grant: leave --token out, and another is made")
}

/// Sends a photo straight to storage and says that it is there; the image.
async fn sent(api: &Api, teller: &Teller, photo: &'static Photo) -> anyhow::Result<String> {
    let announced =
        json!({"mime_type": photo.mime_type, "content_length": photo.bytes.len(), "device_id": "coreloop-demo"});
    let place = api.post("asking for an upload", "/api/v1/image/presigned", &announced).await?;
    let key = text(&place, "/object_key");
    teller.step("upload URL", format!("{key}, until {}", text(&place, "/expires_at")));
    let etag = api.put(&place, photo).await?;
    teller.step("uploaded", format!("{} ({} bytes) straight to storage, ETag {etag}", photo.name, photo.bytes.len()));
    let upload = json!({"object_key": key, "etag": etag});
    let registered = api.post("registering the photo", "/api/v1/image/callback", &upload).await?;
    let image = text(&registered, "/image/image_id");
    ensure!(!image.is_empty(), "registering the photo: the answer names no image");
    teller.step("registered", format!("image {image}"));
    Ok(image.to_owned())
}

/// Hears the rest on the socket.
async fn listen(socket: &mut Socket, teller: &Teller, heard: &mut Heard, within: Duration) -> anyhow::Result<()> {
    let (mut until, mut patience) = (Instant::now() + within, within);
    while let Some(missing) = heard.missing() {
        let Some(message) = socket.next(until).await.with_context(|| format!("waiting for {missing}"))? else {
            bail!("{missing} did not come on the socket within {} s", patience.as_secs());
        };
        let Some((step, seen)) = heard.take(&message)? else { continue };
        teller.step(step, seen);
        if step == CLASSIFIED {
            (until, patience) = (Instant::now() + PATIENCE, PATIENCE);
        }
    }
    Ok(())
}

/// What the socket said is what REST answers. A summary may be fifteen seconds old, so it comes last.
async fn read_again(api: &Api, teller: &Teller, heard: &Heard, recycled: f64) -> anyhow::Result<()> {
    let (task, code) = (heard.task.as_deref().unwrap_or_default(), heard.character.as_deref().unwrap_or_default());
    let path = format!("/api/v1/scan/tasks/{task}");
    let granted = |answer: &Value| text(answer, "/task/reward_status") == "REWARD_STATUS_GRANTED";
    let seen = until(api, "the task whose reward is granted", &path, granted).await?;
    teller.step("task", format!("{}; {}", text(&seen, "/task/reward_status"), text(&seen, "/task/guidance")));

    let has = |answer: &Value| list(answer, "/characters").any(|one| text(one, "/owned/code") == code);
    let seen = until(api, "the character in the collection", "/api/v1/character/me", has).await?;
    let name = list(&seen, "/characters").find(|one| text(one, "/owned/code") == code);
    let name = name.map(|one| text(one, "/character/name/en")).unwrap_or_default();
    teller.step("character", format!("{code} {name}, of {:.0}", number(&seen, "/owned_count").unwrap_or_default()));

    let id = heard.notification.as_deref().unwrap_or_default();
    let told = |answer: &Value| list(answer, "/notifications").any(|one| text(one, "/notification_id") == id);
    let seen = until(api, "the notification in the inbox", "/api/v1/notifications?language=en", told).await?;
    let told = list(&seen, "/notifications").find(|one| text(one, "/notification_id") == id);
    teller.step("inbox", told.map(|one| text(one, "/title")).unwrap_or_default());

    let count = |answer: &Value| number(answer, "/recycling/recycled").unwrap_or_default();
    let seen = until(api, "the figures that moved", "/api/v1/my/summary", |answer| count(answer) > recycled).await?;
    let figure = |pointer: &str| number(&seen, pointer).unwrap_or_default();
    teller.step(
        "summary",
        format!(
            "{:.0} characters, {:.0} recycled, {:.0} days in a row, water {:.1} L, CO2 {:.0} g",
            figure("/characters/owned"),
            count(&seen),
            figure("/streak/current"),
            figure("/recycling/impact/water_ml") / 1000.0,
            figure("/recycling/impact/co2_g")
        ),
    );
    Ok(())
}

/// Reads `path` until it answers as it will.
async fn until(api: &Api, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let (end, mut pause) = (Instant::now() + PATIENCE, PAUSE);
    loop {
        let answer = api.get(&format!("reading {what}"), path).await?;
        if holds(&answer) {
            return Ok(answer);
        }
        ensure!(Instant::now() < end, "{what} did not come within {} s: GET {path}", PATIENCE.as_secs());
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn mine(owned: &[&str], most: usize) -> Value {
        let all = [("CHR002", "paper"), ("CHR005", "pet"), ("CHR008", "glass"), ("CHR009", "can")];
        let categories = all.map(|(_, category)| category);
        let unlock = |kind: &str, threshold: i64| json!({"condition_type": kind, "threshold": threshold});
        let mut characters = all
            .map(|(code, category)| {
                let owned = owned.contains(&code).then(|| json!({"code": code}));
                let unlock = unlock("category_count", 1);
                json!({"character": {"code": code, "categories": [category], "unlock": unlock}, "owned": owned})
            })
            .to_vec();
        // As in the catalogue: a scan of any category counts for these, and grants none of them yet.
        for (code, unlock) in [
            ("CHR014", unlock("streak_days", 7)),
            ("CHR015", unlock("variety", 5)),
            ("CHR016", unlock("category_count", 9)),
        ] {
            characters
                .push(json!({"character": {"code": code, "categories": categories, "unlock": unlock}, "owned": null}));
        }
        json!({"characters": characters, "owned_count": owned.len(), "max_owned": most})
    }

    #[test]
    fn the_photo_is_one_that_grants_what_the_account_has_not() {
        let chosen = |owned: &[&str]| super::chosen(&mine(owned, 15), None).map(|photo| photo.name);
        assert_eq!(chosen(&[]).unwrap(), "bottle.jpg");
        assert_eq!(chosen(&["CHR005"]).unwrap(), "can.png");
        assert_eq!(chosen(&["CHR005", "CHR009", "CHR008"]).unwrap(), "box.jpg");
        let all = chosen(&["CHR002", "CHR005", "CHR008", "CHR009"]).unwrap_err();
        assert!(all.to_string().contains("every character"), "{all}");
    }

    #[test]
    fn who_may_have_no_more_is_told_so_before_anything_is_sent() {
        let full = chosen(&mine(&["CHR005"], 1), None).unwrap_err();
        assert!(full.to_string().contains("as many characters"), "{full}");
        assert_eq!(chosen(&mine(&["CHR005"], 1), Some("night.jpg")).unwrap().name, "night.jpg");
        let none = chosen(&mine(&[], 15), Some("cat.jpg")).unwrap_err();
        assert!(none.to_string().contains("bottle.jpg, can.png"), "{none}");
    }
}
