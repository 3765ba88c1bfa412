//! Answers and errors as HTTP writes them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::protocol::{Kind, Problem};

/// After how many seconds a client that was turned away may try again.
const RETRY_AFTER: &str = "1";

impl Kind {
    /// Its status in HTTP.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            // Triton says so of a deadline too; 504 would be a gateway's.
            Self::Unavailable | Self::Exhausted | Self::Deadline => StatusCode::SERVICE_UNAVAILABLE,
            // Nobody reads it.
            Self::Canceled => StatusCode::REQUEST_TIMEOUT,
            Self::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A body `{"error": …}`.
pub fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = error(self.kind.status(), &self.text);
        if matches!(self.kind, Kind::Unavailable | Kind::Exhausted) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

/// There is nothing at this path.
pub(super) fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "Not Found")
}

/// There is something at this path, but not for this method.
pub async fn wrong_method() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}
