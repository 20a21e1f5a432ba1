//! RFC 6455 framing over raw bytes: [`Decoder`] turns what a client sent into [`Incoming`] events,
//! [`encode`] turns a payload into a server's frame. No sockets, no allocation for a message that
//! arrives whole. Messages may be compressed where that was agreed (RFC 7692).
//!
//! Why not a library: the codecs that are at hand either check a frame's length only after they
//! have buffered it, own the socket, or copy every payload. This one refuses a length from the
//! header alone, unmasks in the caller's buffer, and holds no buffer for an idle connection.

use super::{close::CloseCode, deflate::Inflater};
use bytes::{BufMut, Bytes, BytesMut};
use std::{
    error::Error,
    fmt::{self, Write},
};

/// The bit in a frame's first byte that marks a compressed message (RFC 7692, section 6).
const RSV1: u8 = 0x40;

/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const MAX_CONTROL_PAYLOAD_BYTES: usize = 125;

/// What a frame carries (RFC 6455, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next part of a fragmented message.
    Continuation = 0x0,
    /// UTF-8 text.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// "Are you there?"
    Ping = 0x9,
    /// "I am."
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}

/// Something a client said, complete. Payloads are borrowed: from the input where the message
/// arrived whole, else from the decoder, or from the inflater.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A frame that is not its message's last; the length of its payload in bytes.
    Fragment(usize),
    /// To be answered with a pong that carries the same bytes.
    Ping(&'a [u8]),
    /// An answer to a ping, or a sign of life sent unasked.
    Pong(&'a [u8]),
    /// The client closes; without a code if it gave none.
    Close(Option<(u16, &'a str)>),
}

impl Incoming<'_> {
    /// The length of a whole message, 0 of all else.
    pub fn message_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// Why a connection's bytes cannot be read on. Each ends the connection with
/// [`FrameError::close_code`], as RFC 6455 demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A reserved bit is set, but nothing was negotiated that gives it a meaning there.
    ReservedBits,
    /// An opcode that RFC 6455 reserves.
    ReservedOpcode(u8),
    /// A client's frame without a mask.
    NotMasked,
    /// A length written in more bytes than it needs.
    LengthNotMinimal,
    /// A 64-bit length with its highest bit set.
    LengthNegative,
    /// A control frame in parts.
    FragmentedControl,
    /// A control frame with more than [`MAX_CONTROL_PAYLOAD_BYTES`].
    LongControl,
    /// A continuation without a message to continue.
    NothingToContinue,
    /// A new message before the last one ended.
    MessageUnfinished,
    /// A close frame with a payload of one byte.
    CloseTooShort,
    /// A close code that must not be sent (RFC 6455, section 7.4).
    CloseCode(u16),
    /// Text that is not UTF-8.
    NotUtf8,
    /// A compressed message whose bytes are not in the DEFLATE format, or not whole.
    NotDeflate,
    /// A message longer than the limit in bytes that is given here, or one that would be when it is
    /// inflated.
    TooLarge(usize),
}

impl FrameError {
    /// The code to close the connection with.
    pub fn close_code(self) -> CloseCode {
        match self {
            // The frames are right, it is the payload that is not what it says it is: 1007 by RFC
            // 6455, section 7.4.1. RFC 7692 names no code.
            Self::NotUtf8 | Self::NotDeflate => CloseCode::INVALID_PAYLOAD,
            Self::TooLarge(_) => CloseCode::TOO_LARGE,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl Error for FrameError {}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits => f.write_str("a reserved bit is set that means nothing there"),
            Self::ReservedOpcode(opcode) => write!(f, "opcode {opcode:#x} is reserved"),
            Self::NotMasked => f.write_str("a client's frame must be masked"),
            Self::LengthNotMinimal => f.write_str("the length is not written minimally"),
            Self::LengthNegative => f.write_str("the length has its highest bit set"),
            Self::FragmentedControl => f.write_str("a control frame must not be fragmented"),
            Self::LongControl => f.write_str("a control frame holds at most 125 bytes"),
            Self::NothingToContinue => f.write_str("a continuation without a message"),
            Self::MessageUnfinished => f.write_str("a new message before the last one ended"),
            Self::CloseTooShort => f.write_str("a close payload of one byte"),
            Self::CloseCode(code) => write!(f, "close code {code} must not be sent"),
            Self::NotUtf8 => f.write_str("text must be UTF-8"),
            Self::NotDeflate => f.write_str("a compressed message cannot be inflated"),
            Self::TooLarge(limit) => write!(f, "a message holds at most {limit} bytes"),
        }
    }
}

/// The longest header of a client's frame: 2 bytes, a 64-bit length, a mask.
const MAX_HEADER_BYTES: usize = 14;

/// A frame whose payload is arriving.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    is_final: bool,
    mask: [u8; 4],
    /// Payload bytes in all, and those already taken in.
    length: usize,
    taken: usize,
}

/// The parts of a message, or of a control frame, that have arrived so far.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// `bytes[..utf8]` is known to be whole UTF-8 characters.
    utf8: usize,
}

/// Reads one client's byte stream. Feed it with [`Decoder::next`].
#[derive(Debug)]
pub struct Decoder {
    max_message_bytes: usize,
    /// permessage-deflate was agreed.
    may_inflate: bool,
    header: [u8; MAX_HEADER_BYTES],
    header_length: u8,
    frame: Option<Frame>,
    /// Text or Binary while a message is under way.
    message_kind: Option<Opcode>,
    /// The newest message began with RSV1.
    is_compressed: bool,
    /// The message is handed out from here; cleared at the next call.
    is_handed_out: bool,
    /// Boxed, so that a connection between messages holds a pointer and no buffers.
    message: Option<Box<Partial>>,
    control: Option<Box<Partial>>,
}

impl Decoder {
    /// A decoder that refuses messages of more than `max_message_bytes`, fragments added up.
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            may_inflate: false,
            header: [0; MAX_HEADER_BYTES],
            header_length: 0,
            frame: None,
            message_kind: None,
            is_compressed: false,
            is_handed_out: false,
            message: None,
            control: None,
        }
    }

    /// The same for a client with whom permessage-deflate was agreed. The limit is also that of a
    /// compressed message as it arrives, and of what it is inflated to.
    pub fn inflating(max_message_bytes: usize) -> Self {
        Self { may_inflate: true, ..Self::new(max_message_bytes) }
    }

    /// Takes bytes from the front of `input`, which it unmasks in place, up to the end of the next
    /// event. Returns how many it took and the event, or all of them and none. Call it again with
    /// the rest. After an error the stream has no meaning any more. `inflater` serves any number of
    /// decoders.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        inflater: &'a mut Inflater,
    ) -> Result<(usize, Option<Incoming<'a>>), FrameError> {
        self.drop_handed_out();
        let mut used = 0;
        if self.frame.is_none() {
            used = self.take_header(input)?;
        }
        let Some(mut frame) = self.frame else {
            return Ok((used, None));
        };
        let available = (input.len() - used).min(frame.length - frame.taken);
        let payload = &mut input[used..used + available];
        unmask(payload, frame.mask, frame.taken);
        frame.taken += available;
        used += available;
        if frame.taken < frame.length {
            self.frame = Some(frame);
            self.keep_partial(&frame, payload)?;
            return Ok((used, None));
        }
        self.frame = None;
        let event = if frame.opcode.is_control() {
            self.finish_control(&frame, payload)?
        } else {
            self.finish_data(&frame, payload, inflater)?
        };
        Ok((used, Some(event)))
    }

    /// Frees what the last event borrowed. [`Decoder::next`] does it too; a caller that has no more
    /// bytes calls this, so that an idle connection holds no buffer.
    pub fn drop_handed_out(&mut self) {
        if self.is_handed_out {
            self.is_handed_out = false;
            self.message = None;
        }
        if self.frame.is_none() {
            self.control = None;
        }
    }

    /// Takes header bytes; sets `self.frame` once the header is whole and allowed.
    fn take_header(&mut self, input: &[u8]) -> Result<usize, FrameError> {
        let mut used = 0;
        loop {
            let have = usize::from(self.header_length);
            let want = self.check_header(have)?;
            if have >= want {
                let frame = self.read_header(want);
                if matches!(frame.opcode, Opcode::Text | Opcode::Binary) {
                    self.is_compressed = self.header[0] & RSV1 != 0;
                }
                self.frame = Some(frame);
                self.header_length = 0;
                return Ok(used);
            }
            let take = (want - have).min(input.len() - used);
            if take == 0 {
                return Ok(used);
            }
            self.header[have..have + take].copy_from_slice(&input[used..used + take]);
            // At most MAX_HEADER_BYTES, which fits.
            self.header_length += take as u8;
            used += take;
        }
    }

    /// Checks the `have` bytes of the header that are there, each as early as it can be, and says
    /// how many the header has in all as far as is known.
    fn check_header(&self, have: usize) -> Result<usize, FrameError> {
        if have < 2 {
            return Ok(2);
        }
        let [first, second] = [self.header[0], self.header[1]];
        if first & 0x70 & !self.allowed_bits(first & 0x0F) != 0 {
            return Err(FrameError::ReservedBits);
        }
        let opcode =
            Opcode::from_bits(first & 0x0F).ok_or(FrameError::ReservedOpcode(first & 0x0F))?;
        if second & 0x80 == 0 {
            return Err(FrameError::NotMasked);
        }
        let is_final = first & 0x80 != 0;
        let short_length = second & 0x7F;
        match (opcode, self.message_kind) {
            _ if opcode.is_control() && !is_final => return Err(FrameError::FragmentedControl),
            _ if opcode.is_control() && short_length > 125 => return Err(FrameError::LongControl),
            (Opcode::Continuation, None) => return Err(FrameError::NothingToContinue),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(FrameError::MessageUnfinished),
            _ => {}
        }
        let length_end = match short_length {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if have >= length_end {
            self.check_length(opcode, self.payload_length(length_end))?;
        }
        Ok(length_end + 4)
    }

    /// RSV1 says of a message's first frame that the message is compressed; all other frames must
    /// not have it (RFC 7692, section 6.1).
    fn allowed_bits(&self, opcode: u8) -> u8 {
        let begins_message = opcode == Opcode::Text as u8 || opcode == Opcode::Binary as u8;
        if self.may_inflate && begins_message { RSV1 } else { 0 }
    }

    fn check_length(&self, opcode: Opcode, length: u64) -> Result<(), FrameError> {
        let is_minimal = match self.header[1] & 0x7F {
            126 => length > 125,
            127 => length > 0xFFFF,
            _ => true,
        };
        if length >> 63 != 0 {
            return Err(FrameError::LengthNegative);
        }
        if !is_minimal {
            return Err(FrameError::LengthNotMinimal);
        }
        let before = match (&self.message, opcode) {
            (Some(partial), Opcode::Continuation) => partial.bytes.len(),
            _ => 0,
        };
        let room = (self.max_message_bytes - before) as u64;
        if !opcode.is_control() && length > room {
            return Err(FrameError::TooLarge(self.max_message_bytes));
        }
        Ok(())
    }

    fn payload_length(&self, length_end: usize) -> u64 {
        match length_end {
            2 => u64::from(self.header[1] & 0x7F),
            _ => self.header[2..length_end]
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        }
    }

    fn read_header(&self, header_end: usize) -> Frame {
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.header[header_end - 4..header_end]);
        Frame {
            // check_header has refused all other opcodes.
            opcode: Opcode::from_bits(self.header[0] & 0x0F).unwrap_or(Opcode::Continuation),
            is_final: self.header[0] & 0x80 != 0,
            mask,
            // check_length keeps it below max_message_bytes, a usize.
            length: self.payload_length(header_end - 4) as usize,
            taken: 0,
        }
    }

    /// Keeps a part of a frame's payload until the rest arrives.
    fn keep_partial(&mut self, frame: &Frame, payload: &[u8]) -> Result<(), FrameError> {
        if frame.opcode.is_control() {
            self.control.get_or_insert_default().bytes.extend_from_slice(payload);
            return Ok(());
        }
        let kind = *self.message_kind.get_or_insert(frame.opcode);
        self.keep_message(kind, payload)
    }

    fn keep_message(&mut self, kind: Opcode, payload: &[u8]) -> Result<(), FrameError> {
        let partial = self.message.get_or_insert_default();
        if self.is_compressed {
            // What it says is known when it is whole.
            partial.bytes.extend_from_slice(payload);
            return Ok(());
        }
        partial.push(kind, payload)
    }

    fn finish_control<'a>(
        &'a mut self,
        frame: &Frame,
        payload: &'a [u8],
    ) -> Result<Incoming<'a>, FrameError> {
        let payload = match &mut self.control {
            Some(partial) => {
                partial.bytes.extend_from_slice(payload);
                &partial.bytes[..]
            }
            None => payload,
        };
        match frame.opcode {
            Opcode::Ping => Ok(Incoming::Ping(payload)),
            Opcode::Pong => Ok(Incoming::Pong(payload)),
            _ => parse_close(payload).map(Incoming::Close),
        }
    }

    fn finish_data<'a>(
        &'a mut self,
        frame: &Frame,
        payload: &'a [u8],
        inflater: &'a mut Inflater,
    ) -> Result<Incoming<'a>, FrameError> {
        // A part that arrived before set the kind; a first part is of its frame's kind.
        let kind = self.message_kind.unwrap_or(frame.opcode);
        if !frame.is_final {
            self.message_kind = Some(kind);
            let length = frame.length;
            self.keep_message(kind, payload)?;
            return Ok(Incoming::Fragment(length));
        }
        self.message_kind = None;
        if self.message.is_some() {
            self.keep_message(kind, payload)?;
            self.is_handed_out = true;
        }
        let payload = self.message.as_ref().map_or(payload, |partial| &partial.bytes);
        if self.is_compressed {
            return whole(kind, inflater.inflate(payload, self.max_message_bytes)?);
        }
        let Some(partial) = &self.message else {
            return whole(kind, payload);
        };
        if kind == Opcode::Text && partial.utf8 < partial.bytes.len() {
            return Err(FrameError::NotUtf8);
        }
        whole(kind, &partial.bytes)
    }
}

impl Partial {
    /// Appends a part; text must be UTF-8 as far as it goes, but for a character cut at its end.
    fn push(&mut self, kind: Opcode, part: &[u8]) -> Result<(), FrameError> {
        self.bytes.extend_from_slice(part);
        if kind != Opcode::Text {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.utf8..]) {
            Ok(text) => self.utf8 += text.len(),
            Err(error) if error.error_len().is_none() => self.utf8 += error.valid_up_to(),
            Err(_) => return Err(FrameError::NotUtf8),
        }
        Ok(())
    }
}

fn whole(kind: Opcode, payload: &[u8]) -> Result<Incoming<'_>, FrameError> {
    if kind == Opcode::Binary {
        return Ok(Incoming::Binary(payload));
    }
    std::str::from_utf8(payload).map(Incoming::Text).map_err(|_| FrameError::NotUtf8)
}

fn parse_close(payload: &[u8]) -> Result<Option<(u16, &str)>, FrameError> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(FrameError::CloseTooShort),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !CloseCode(code).may_be_sent() {
        return Err(FrameError::CloseCode(code));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?;
    Ok(Some((code, reason)))
}

/// Applies a client's mask to payload bytes, the first of which is the payload's `offset`-th.
fn unmask(payload: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// A whole, unmasked, final frame: what a server sends.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Bytes {
    encode_with(0x80 | opcode as u8, payload)
}

/// The same for a payload that [`super::deflate::compress`] made.
pub fn encode_compressed(opcode: Opcode, payload: &[u8]) -> Bytes {
    encode_with(0x80 | RSV1 | opcode as u8, payload)
}

fn encode_with(first_byte: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(first_byte);
    match payload.len() {
        length @ 0..=125 => frame.put_u8(length as u8),
        length @ 126..=0xFFFF => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

/// A close frame; a reason longer than fits is cut at a character.
pub fn encode_close(code: CloseCode, reason: &str) -> Bytes {
    let end = reason.floor_char_boundary(MAX_CONTROL_PAYLOAD_BYTES - 2);
    let mut payload = code.0.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    encode(Opcode::Close, &payload)
}

impl fmt::Display for Incoming<'_> {
    /// For people to read, such as `Text 15 bytes "server received"`. A long payload is cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => show(f, "Text", text.as_bytes()),
            Self::Binary(bytes) => show(f, "Binary", bytes),
            Self::Fragment(length) => write!(f, "Fragment {length} bytes"),
            Self::Ping(payload) => show(f, "Ping", payload),
            Self::Pong(payload) => show(f, "Pong", payload),
            Self::Close(Some((code, reason))) => write!(f, "Close {code} {reason:?}"),
            Self::Close(None) => f.write_str("Close"),
        }
    }
}

fn show(f: &mut impl fmt::Write, kind: &str, payload: &[u8]) -> fmt::Result {
    const SHOWN_BYTES: usize = 200;
    let shown = String::from_utf8_lossy(&payload[..payload.len().min(SHOWN_BYTES)]);
    write!(f, "{kind} {} bytes {shown:?}", payload.len())
}

/// The payload of a frame of [`encode`].
pub(super) fn payload(frame: &[u8]) -> &[u8] {
    let start = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(start..).unwrap_or_default()
}

/// A frame of [`encode`] for people to read, in the form of [`Incoming`].
pub fn describe(frame: &[u8]) -> String {
    let mut text = String::new();
    let first = frame.first().copied().unwrap_or_default();
    let (opcode, payload) = (Opcode::from_bits(first & 0x0F), payload(frame));
    // Writing to a String cannot fail.
    let _ = match (opcode, payload.first_chunk()) {
        (Some(opcode), _) if first & RSV1 != 0 => {
            write!(text, "{opcode:?} {} bytes, compressed", payload.len())
        }
        (Some(Opcode::Close), Some(code)) => {
            write!(text, "Close {}", u16::from_be_bytes(*code))
        }
        (Some(opcode), _) => show(&mut text, &format!("{opcode:?}"), payload),
        (None, _) => write!(text, "{frame:?}"),
    };
    text
}

#[cfg(test)]
mod tests;
