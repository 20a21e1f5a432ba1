//! The web pages, as they were when the program was built.

use super::{gates, refusal::Refusal};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, EntityTag, Header, IfNoneMatch},
    web,
};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "web/"]
struct Pages;

/// What a page may do: scripts, styles, images and connections of this server, nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// The file of `web/` that lists the rooms: what `/` shows where no room has that path.
pub const START: &str = "rooms.html";

/// The file of `web/` that shows a room of this kind.
pub fn of_kind(kind: &str) -> Option<&'static str> {
    match kind {
        "counter" => Some("index.html"),
        "chat" => Some("chat.html"),
        "document" => Some("document.html"),
        _ => None,
    }
}

/// `GET /web/`.
pub async fn start(request: HttpRequest) -> HttpResponse {
    answer(&request, START)
}

/// `GET /web/{name}`.
pub async fn file(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    answer(&request, &name)
}

/// The embedded file called `name`, or that the client has it already.
pub fn answer(request: &HttpRequest, name: &str) -> HttpResponse {
    if let Err(refusal) = gates::read_only(request.method()) {
        return refusal.to_response();
    }
    let Some(file) = Pages::get(name) else { return Refusal::NoSuchPage.to_response() };
    let tag = entity_tag(&file);
    let is_known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = match is_known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header((header::ETAG, tag.to_string()))
        // Ask each time: a new server brings new pages, and the answer is short if it does not.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // One path has a page, a socket and an event stream.
        .insert_header((header::VARY, "Accept, Upgrade"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if is_known {
        return response.finish();
    }
    response.insert_header((header::CONTENT_TYPE, content_type(&file)));
    response.body(file.data.into_owned())
}

fn content_type(file: &EmbeddedFile) -> String {
    match file.metadata.mimetype() {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    }
}

fn entity_tag(file: &EmbeddedFile) -> EntityTag {
    let hash = file.metadata.sha256_hash();
    EntityTag::new_strong(hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect())
}
