// SPDX-License-Identifier: Apache-2.0
#include "net.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace tiercache::sim {
namespace {

constexpr int first_socket = 1 << 20;
constexpr int first_event = 1 << 26;

int fail(int error) {
  errno = error;
  return -1;
}

}  // namespace

bool Network::owns(int fd) const noexcept { return fd >= first_socket; }

Stream* Network::find(int fd) const noexcept {
  const auto i = static_cast<std::size_t>(fd - first_socket);
  return fd >= first_socket && i < sockets_.size() ? sockets_[i].get() : nullptr;
}

int Network::socket() {
  auto stream = std::make_shared<Stream>();
  stream->id = next_id_++;
  stream->process = scheduler_.process();
  stream->bus = scheduler_.fiber_name() == "tc-bus";
  sockets_.push_back(std::move(stream));
  return first_socket + static_cast<int>(sockets_.size()) - 1;
}

int Network::event() {
  events_.push_back(std::make_unique<Event>());
  return first_event + static_cast<int>(events_.size()) - 1;
}

int Network::signal_event(int fd) {
  Event& event = *events_.at(static_cast<std::size_t>(fd - first_event));
  ++event.count;
  scheduler_.wake(&event, SIZE_MAX);
  return 0;
}

int Network::connect(int fd) {
  Stream* const s = find(fd);
  if (s == nullptr) return fail(EBADF);
  const StreamPtr stream = s->shared_from_this();
  stream->link = link_of(*stream->process, stream->bus);
  stream->server = stream->link->server;
  stream->state = Stream::State::connecting;
  streams_.push_back(stream);
  const Nanos there = std::max(scheduler_.now(), stream->link->held_until[to_server]) + stream->link->least +
                      static_cast<Nanos>(random_.below(static_cast<std::uint64_t>(stream->link->spread) + 1));
  scheduler_.at(there, [this, stream] {
    const bool taken = service_.listens(stream->server) && scheduler_.now() >= stream->link->refused_until;
    const Nanos back = std::max(scheduler_.now(), stream->link->held_until[to_client]) + stream->link->least;
    if (taken && !stream->closed) {
      stream->served = true;
      service_.accepted(stream);
    }
    scheduler_.at(back, [this, stream, taken] {
      if (stream->closed || stream->state != Stream::State::connecting) return;
      stream->state = taken && stream->error == 0 ? Stream::State::open : Stream::State::failed;
      if (!taken) stream->error = ECONNREFUSED;
      scheduler_.wake(stream.get(), SIZE_MAX);
    });
  });
  return fail(EINPROGRESS);
}

void Network::post(const StreamPtr& stream, Direction way, Stream::Piece piece) {
  const Link& link = *stream->link;
  Nanos late = link.least + static_cast<Nanos>(random_.below(static_cast<std::uint64_t>(link.spread) + 1));
  if (scheduler_.now() < link.slow_until[way])
    late += static_cast<Nanos>(random_.below(static_cast<std::uint64_t>(link.slow_by) + 1));
  if (way == to_server && scheduler_.now() < link.stuck_until && random_.below(8) == 0)
    stream->stuck_until = scheduler_.now() + static_cast<Nanos>(random_.below(static_cast<std::uint64_t>(link.stuck_by) + 1));
  piece.due = scheduler_.now() + late;
  stream->under_way[way].push_back(std::move(piece));
  if (!stream->pumping[way]) pump(stream, way);
}

Nanos Network::held_until(const Stream& stream, Direction way) noexcept {
  return std::max(stream.link->held_until[way], way == to_server ? stream.stuck_until : 0);
}

/// One after the other: what is behind waits for what is in front.
void Network::pump(const StreamPtr& stream, Direction way) {
  std::deque<Stream::Piece>& queue = stream->under_way[way];
  stream->pumping[way] = !queue.empty();
  if (queue.empty()) return;
  const Nanos held = held_until(*stream, way);
  const Nanos due = std::max(queue.front().due, held > scheduler_.now() ? held + stream->link->least : 0);
  scheduler_.at(due, [this, stream, way] {
    std::deque<Stream::Piece>& pieces = stream->under_way[way];
    if (pieces.empty()) {
      stream->pumping[way] = false;
      return;
    }
    if (held_until(*stream, way) > scheduler_.now()) return pump(stream, way);
    Stream::Piece piece = std::move(pieces.front());
    pieces.pop_front();
    arrive(stream, way, std::move(piece));
    pump(stream, way);
  });
}

void Network::arrive(const StreamPtr& stream, Direction way, Stream::Piece piece) {
  bytes_through += piece.bytes.size();
  if (way == to_server) {
    if (stream->dropped || !stream->served) return;
    if (!piece.bytes.empty()) service_.received(stream, piece.bytes);
    if (piece.last && !stream->dropped) {
      stream->dropped = true;
      service_.closed(stream);
    }
    return;
  }
  if (stream->closed) return;
  stream->received += piece.bytes;
  if (piece.last) stream->end = true;
  if (!stream->process->dead) scheduler_.wake(stream.get(), SIZE_MAX);
}

long Network::send(int fd, const char* bytes, std::size_t size) {
  Stream* const s = find(fd);
  if (s == nullptr) return fail(EBADF);
  if (s->error != 0) return fail(std::exchange(s->error, 0));
  if (s->state != Stream::State::open || s->shut) return fail(EPIPE);
  if (s->end) return fail(EPIPE);
  const StreamPtr stream = s->shared_from_this();
  // Now and then in two segments.
  const std::size_t cut = size > 1 && random_.below(16) == 0 ? 1 + random_.below(size - 1) : size;
  post(stream, to_server, {std::string(bytes, cut)});
  if (cut != size) post(stream, to_server, {std::string(bytes + cut, size - cut)});
  return static_cast<long>(size);
}

bool Network::readable(const Stream& s) const noexcept {
  return !s.received.empty() || s.end || s.error != 0 || s.shut || s.state == Stream::State::failed;
}
bool Network::writable(const Stream& s) const noexcept {
  return s.state == Stream::State::open || s.state == Stream::State::failed;
}

long Network::receive(int fd, char* to, std::size_t size, int flags) {
  Stream* const s = find(fd);
  if (s == nullptr) return fail(EBADF);
  const bool waits = (flags & MSG_DONTWAIT) == 0 && (s->flags & O_NONBLOCK) == 0;
  if (!readable(*s) && waits) scheduler_.block(s, s->receive_timeout != 0 ? scheduler_.now() + s->receive_timeout : never);
  if (!s->received.empty()) {
    const std::size_t n = std::min(size, s->received.size());
    std::memcpy(to, s->received.data(), n);
    if ((flags & MSG_PEEK) == 0) s->received.erase(0, n);
    return static_cast<long>(n);
  }
  if (s->error != 0) return fail(s->error);
  if (s->end || s->shut) return 0;
  return fail(EAGAIN);
}

int Network::poll(pollfd* fds, std::size_t count, int timeout_ms) {
  const Nanos until = timeout_ms < 0 ? never : scheduler_.now() + timeout_ms * millis;
  for (;;) {
    int ready = 0;
    const void* keys[2] = {};
    for (std::size_t i = 0; i < count && i < 2; ++i) {
      fds[i].revents = 0;
      if (fds[i].fd < 0) continue;
      if (fds[i].fd >= first_event) {
        Event& event = *events_.at(static_cast<std::size_t>(fds[i].fd - first_event));
        if (event.count != 0) fds[i].revents = POLLIN;
        keys[i] = &event;
      } else if (Stream* const s = find(fds[i].fd)) {
        if ((fds[i].events & POLLIN) != 0 && readable(*s)) fds[i].revents |= POLLIN;
        if ((fds[i].events & POLLOUT) != 0 && writable(*s)) fds[i].revents |= POLLOUT;
        keys[i] = s;
      }
      if (fds[i].revents != 0) ++ready;
    }
    if (ready != 0 || (timeout_ms != 0 && scheduler_.now() >= until)) return ready;
    if (timeout_ms == 0) {  // what asks again and again must see time pass
      scheduler_.sleep_until(scheduler_.now() + micros);
      return 0;
    }
    if (keys[0] == nullptr) std::swap(keys[0], keys[1]);
    scheduler_.block(keys[0], until, keys[1]);
  }
}

int Network::shutdown(int fd) {
  Stream* const s = find(fd);
  if (s == nullptr) return fail(EBADF);
  s->shut = true;
  const StreamPtr stream = s->shared_from_this();
  if (stream->state == Stream::State::open) post(stream, to_server, {{}, 0, true});
  scheduler_.wake(s, SIZE_MAX);
  return 0;
}

/// What was sent before is still delivered: a write that its caller has given up may be run late.
void Network::close_client(const StreamPtr& stream) {
  if (std::exchange(stream->closed, true)) return;
  if (stream->served && !stream->shut) post(stream, to_server, {{}, 0, true});
}

int Network::close(int fd) {
  if (fd >= first_event) return 0;
  Stream* const s = find(fd);
  if (s == nullptr) return fail(EBADF);
  const StreamPtr stream = s->shared_from_this();
  close_client(stream);
  sockets_[static_cast<std::size_t>(fd - first_socket)].reset();
  return 0;
}

int Network::set_receive_timeout(int fd, Nanos timeout) {
  if (Stream* const s = find(fd)) s->receive_timeout = timeout;
  return 0;
}
int Network::get_flags(int fd) {
  Stream* const s = find(fd);
  return s != nullptr ? s->flags : fail(EBADF);
}
int Network::set_flags(int fd, int flags) {
  if (Stream* const s = find(fd)) s->flags = flags;
  return 0;
}
int Network::take_error(int fd) {
  Stream* const s = find(fd);
  return s != nullptr ? std::exchange(s->error, 0) : EBADF;
}

void Network::answer(const StreamPtr& stream, std::string bytes) {
  if (stream->dropped) return;
  post(stream, to_client, {std::move(bytes)});
}

void Network::drop(const StreamPtr& stream) {
  if (std::exchange(stream->dropped, true)) return;
  post(stream, to_client, {{}, 0, true});
}

void Network::reset(const StreamPtr& stream, int error) {
  for (auto& queue : stream->under_way) queue.clear();
  if (!std::exchange(stream->dropped, true) && stream->served) service_.closed(stream);
  if (stream->closed) return;
  stream->error = error;
  stream->end = true;
  if (stream->state == Stream::State::connecting) stream->state = Stream::State::failed;
  if (!stream->process->dead) scheduler_.wake(stream.get(), SIZE_MAX);
}

void Network::forget_ended() {
  std::erase_if(streams_, [](const StreamPtr& s) {
    return s->closed && (s->dropped || !s->served) && s->state != Stream::State::connecting;
  });
}

void Network::end_process(Process& process) {
  for (const StreamPtr& s : streams_)
    if (s->process == &process) close_client(s);
}

}  // namespace tiercache::sim
