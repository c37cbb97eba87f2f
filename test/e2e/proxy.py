"""A relay that knows frames, and does harm to some of them.

A fault is a method that passes a frame on, or not, or in its own way: True
where the connection goes on, False where it is cut. Each is counted where it
has really happened. The layout of a frame is that of src/net/frame.h.
"""

import collections
import contextlib
import socket
import struct
import threading
import time

import relay

HEADER_BYTES = 96
HEADER = struct.Struct("<IHHIIQQQQQQQQiIQ")
ANSWER = 1
REPEAT = 2
HELLO = 1
RUN = 3
RECENT = 100  # fewer than a shard remembers of a session
STALL_S = 0.5
LONG_STALL_S = 3  # longer than a client waits for an answer
FOUND_S = 1.5     # less than that: who ends then has seen the fault

Head = collections.namedtuple(
    "Head", "magic type flags body_bytes job request session lane seq first "
    "plan cut body_checksum status reserved checksum")


def head_of(frame):
    return Head(*HEADER.unpack_from(frame))


def split(stream):
    """The whole frames of a stream."""
    at = 0
    while at + HEADER_BYTES <= len(stream):
        size = HEADER_BYTES + head_of(stream[at:at + HEADER_BYTES]).body_bytes
        if at + size > len(stream):
            return
        yield bytes(stream[at:at + size])
        at += size


def is_acknowledgement(frame):
    """Of a push, and not a repeated one."""
    h = head_of(frame)
    return h.type == RUN and h.flags == ANSWER and h.seq and h.status == 0


class Reset(Exception):
    """The connection ends with a reset on both sides."""


class Proxy(relay.Relay):
    def __init__(self, seed, port=0):
        super().__init__(seed, port)
        self.fault = None  # a method of this class
        self.share = 0.05  # of the frames that it could do harm to
        self.counts = collections.Counter()
        self._ends = {}  # of sockets -> an event: the other side has ended
        self._ended = collections.Counter()  # pumps of a pair
        self._resets = set()  # pairs
        self._recent = {}
        self._flips = threading.Lock()  # while a flipped bit is on its way

    def begin(self, fault, share=0.05):
        self.share = share
        self.fault = fault

    def end(self):
        self.fault = None

    def _is_drawn(self):
        with self._lock:
            return self._dice.random() < self.share

    def _pick(self, n):
        with self._lock:
            return self._dice.randrange(n)

    def _count(self, what):
        with self._lock:
            self.counts[what] += 1

    # The faults.

    def drop_acknowledgements(self, frame, sink, answers):
        """The push was applied and its client never hears of it."""
        if answers and is_acknowledgement(frame) and self._is_drawn():
            self._count("dropped")
            return False
        sink.sendall(frame)
        return True

    def cut_frames(self, frame, sink, answers):
        if not self._is_drawn():
            sink.sendall(frame)
            return True
        sink.sendall(frame[:1 + self._pick(len(frame) - 1)])
        self._count("answers cut" if answers else "requests cut")
        return False

    def reset(self, frame, sink, answers):
        if self.cut_frames(frame, sink, answers):
            return True
        raise Reset()

    def stall(self, frame, sink, answers):
        """In the middle of a frame; every fourth time for long."""
        if not self._is_drawn():
            sink.sendall(frame)
            return True
        is_long = self.counts["stalls"] % 4 == 1
        at = self._pick(len(frame))
        sink.sendall(frame[:at])
        time.sleep(LONG_STALL_S if is_long else STALL_S)
        self._count("stalls")
        if is_long:
            self._count("long stalls")
        sink.sendall(frame[at:])
        return True

    def send_bytes(self, frame, sink, answers):
        if not self._is_drawn():
            sink.sendall(frame)
            return True
        for i in range(len(frame)):
            sink.sendall(frame[i:i + 1])
        self._count("answers in bytes" if answers else "requests in bytes")
        return True

    def flip_header(self, frame, sink, answers):
        return self._flip(frame, sink, answers, 0, HEADER_BYTES)

    def flip_body(self, frame, sink, answers):
        return self._flip(frame, sink, answers, HEADER_BYTES, len(frame))

    def _flip(self, frame, sink, answers, begin, end):
        """One bit; the receiver must end the connection. Who waits for that
        does not read, so that there is one at a time."""
        if begin == end or not self._is_drawn() or (
                not self._flips.acquire(blocking=False)):
            sink.sendall(frame)
            return True
        with contextlib.ExitStack() as stack:
            stack.callback(self._flips.release)
            return self._flip_now(frame, sink, answers, begin, end)

    def _flip_now(self, frame, sink, answers, begin, end):
        bit = self._pick((end - begin) * 8)
        flipped = bytearray(frame)
        flipped[begin + bit // 8] ^= 1 << bit % 8
        with self._lock:
            has_ended = self._ends.setdefault(sink, threading.Event())
        sink.sendall(flipped)
        is_found = has_ended.wait(FOUND_S)
        self._count("answers flipped" if answers else "requests flipped")
        self._count("found" if is_found else "not found")
        return False

    # A connection.

    def _frames(self, source):
        """Whole frames, then what is left when the source has ended."""
        rest = bytearray()
        with contextlib.suppress(OSError):
            while data := source.recv(relay.CHUNK_BYTES):
                rest += data
                size = 0
                for frame in split(rest):
                    size += len(frame)
                    yield frame
                del rest[:size]
        if rest:
            yield bytes(rest)

    def _remember(self, pair, frame):
        """What begins a connection, and the last of its pushes."""
        if len(frame) < HEADER_BYTES:
            return
        with self._lock:
            begin, pushes = self._recent.setdefault(
                pair, ([], collections.deque(maxlen=RECENT)))
        h = head_of(frame)
        if h.seq:
            pushes.append(frame)
        elif h.type != RUN:
            begin.append(frame)

    def recent(self):
        """The frames of the connection with the most pushes of late; whoever
        sends them must stand still."""
        with self._lock:
            begin, pushes = max(self._recent.values(),
                                key=lambda both: len(both[1]))
        return begin + list(pushes)

    def _pump(self, pair, may_pass, source, sink, record):
        answers = record is None
        with contextlib.suppress(OSError):
            try:
                for frame in self._frames(source):
                    may_pass.wait()
                    if not answers:
                        self._remember(pair, frame)
                    fault = self.fault
                    if fault is None or len(frame) < HEADER_BYTES:
                        sink.sendall(frame)
                    elif not fault(frame, sink, answers):
                        break
            except Reset:
                self._begin_reset(pair)
        with self._lock:
            self._ends.setdefault(source, threading.Event()).set()
            self._ended[pair] += 1
            is_last = self._ended[pair] == 2
            is_reset = pair in self._resets
        if not is_reset:
            self._cut(pair)
        elif is_last:
            self._end_reset(pair)
        if is_last:
            with self._lock:
                self._ended.pop(pair)
                self._recent.pop(pair, None)
                for s in pair:
                    self._ends.pop(s, None)

    def _begin_reset(self, pair):
        """Wakes the other pump without a word on the wire: only a close that
        nobody waits beside resets at once."""
        with self._lock:
            self._resets.add(pair)
        for s in pair:
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RD)

    def _end_reset(self, pair):
        with self._lock:
            self._resets.discard(pair)
            self._pairs.pop(pair, None)
        for s in pair:
            s.close()
