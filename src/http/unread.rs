//! Bodies of requests that nobody reads to their end.
//!
//! actix-http reads on for the end of a chunked body that was dropped, and nothing but the client
//! ends that: it could hold the connection for ever. A body that is still there when the answer is
//! written is drained for `client_disconnect_timeout` at most, and then the connection ends. So each
//! body is kept until its answer is written.

use actix_web::{
    Error, HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    middleware::Next,
};
use bytes::Bytes;
use futures_util::Stream;
use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// Lets a request's body live as long as its answer.
///
/// # Errors
/// Those of what answers.
pub async fn keep(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    let body = match request.take_payload() {
        Payload::None => return next.call(request).await,
        body => SharedBody(Rc::new(RefCell::new(body))),
    };
    request.set_payload(Payload::Stream { payload: Box::pin(body.clone()) });
    let response = next.call(request).await?;
    Ok(response.map_body(|_, answer| BoxBody::new(Answer { answer, _body: body })))
}

/// A request's body, for who reads it and for the [`Answer`].
#[derive(Clone)]
struct SharedBody(Rc<RefCell<Payload>>);

impl Stream for SharedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}

/// The body of an answer, which takes the request's with it when it is dropped.
struct Answer {
    answer: BoxBody,
    _body: SharedBody,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
}
