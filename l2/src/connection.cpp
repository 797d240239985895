// SPDX-License-Identifier: Apache-2.0
#include <tiercache/l2/connection.hpp>

#include "parser.hpp"
#include "socket.hpp"

#include <tiercache/base/lab.hpp>

#include <algorithm>
#include <charconv>
#include <utility>

namespace tiercache::l2 {

struct Connection::Impl {
  Impl(Socket s, const Options& options, std::string peer_name)
      : socket(std::move(s)), parser(options.max_reply_bytes, options.max_reply_elements), peer(std::move(peer_name)) {}

  Error failure(Errc code, std::string_view what) const { return {code, peer + ": " + std::string(what)}; }

  Socket socket;
  Parser parser;
  std::string out;  // appended, not sent yet
  bool broken = false;
  bool sent = false;
  std::string run_id;
  std::string client_id;
  std::string role;
  std::string peer;
};

namespace {

void append_length(std::string& out, char kind, std::size_t n) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, n).ptr;
  out += kind;
  out.append(digits, end);
  out += "\r\n";
}

// The value of "name:value\r\n" in INFO's text.
std::string info_field(std::string_view text, std::string_view name) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find("\r\n", at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':')
      return std::string(line.substr(name.size() + 1));
    at = end + 2;
  }
  return {};
}

// All in one flight of packets: AUTH and SELECT must succeed, SETNAME is cosmetic, INFO tells whom we talk to.
Result<void> shake_hands(Connection& c, const Options& options, const Endpoint& to, std::string& run_id, std::string& role,
                         std::string& client_id, Deadline deadline) {
  const bool auth = !to.password.empty();
  if (auth && to.username.empty()) c.append({"AUTH", to.password});
  if (auth && !to.username.empty()) c.append({"AUTH", to.username, to.password});
  const std::string db = std::to_string(to.db);
  if (to.db != 0) c.append({"SELECT", db});
  if (!options.client_name.empty()) c.append({"CLIENT", "SETNAME", options.client_name});
  c.append({"CLIENT", "ID"});
  c.append({"INFO", "server"});
  c.append({"INFO", "replication"});
  if (auto sent = c.flush(deadline); !sent) return sent.error();

  const auto answer = [&](std::string_view step, bool must) -> Result<Reply> {
    auto reply = c.receive(deadline);
    if (reply && must && reply->type == Reply::Type::error) {
      return Error{Errc::refused, c.peer() + ": " + std::string(step) + ": " + reply->text};
    }
    return reply;
  };
  if (auth) {
    if (auto r = answer("AUTH", true); !r) return r.error();
  }
  if (to.db != 0) {
    if (auto r = answer("SELECT", true); !r) return r.error();
  }
  if (!options.client_name.empty()) {
    if (auto r = answer("CLIENT SETNAME", false); !r) return r.error();
  }
  auto id = answer("CLIENT ID", false);
  if (!id) return id.error();
  if (id->type == Reply::Type::integer) client_id = std::to_string(id->integer);
  auto server = answer("INFO", true);
  if (!server) return server.error();
  auto replication = answer("INFO", true);
  if (!replication) return replication.error();
  run_id = info_field(server->text, "run_id");
  role = info_field(replication->text, "role");
  if (run_id.empty()) return Error{Errc::bad_data, c.peer() + ": INFO has no run_id"};
  return {};
}

}  // namespace

Connection::Connection(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Connection::~Connection() = default;

Result<std::unique_ptr<Connection>> Connection::open(const Options& options, Deadline deadline, int cancel_fd) {
  auto to = parse_endpoint(options);
  if (!to) return to.error();
  auto socket = Socket::connect(*to, deadline, cancel_fd);
  if (!socket) return Error{socket.error().code, to->peer() + ": " + socket.error().message};
  socket->cancel_by(cancel_fd);
  auto impl = std::make_unique<Impl>(std::move(*socket), options, to->peer());
  Impl& state = *impl;
  std::unique_ptr<Connection> c(new Connection(std::move(impl)));
  if (auto done = shake_hands(*c, options, *to, state.run_id, state.role, state.client_id, deadline); !done) return done.error();
  state.socket.cancel_by(-1);
  state.socket.wait_in_receive();
  return c;
}

void Connection::append(std::span<const std::string_view> argv) {
  std::string& out = impl_->out;
  append_length(out, '*', argv.size());
  for (const std::string_view arg : argv) {
    append_length(out, '$', arg.size());
    out += arg;
    out += "\r\n";
  }
}

void Connection::append(std::initializer_list<std::string_view> argv) { append(std::span(argv.begin(), argv.size())); }

Result<void> Connection::flush(Deadline deadline) {
  Impl& s = *impl_;
  s.sent = false;
  std::string_view rest = s.out;
  const auto fail = [&](Errc code, std::string_view what) {
    s.out.clear();
    s.broken = true;
    return s.failure(code, what);
  };
  if (s.broken) return fail(Errc::unavailable, "the connection is broken");
  if (deadline.passed()) {
    s.out.clear();
    return s.failure(Errc::deadline_exceeded, "no time was left to send");
  }
  while (!rest.empty()) {
    const auto n = s.socket.send(rest);
    if (!n) return fail(n.error().code, n.error().message);
    s.sent = s.sent || *n != 0;
    rest.remove_prefix(*n);
    if (*n != 0) continue;
    if (const auto ready = s.socket.wait(Socket::Ready::writable, deadline); !ready)
      return fail(ready.error().code, ready.error().message);
  }
  s.out.clear();
  constexpr std::size_t keep = 1U << 20;
  if (s.out.capacity() > keep) s.out.shrink_to_fit();
  return {};
}

bool Connection::bytes_sent() const noexcept { return impl_->sent; }

Result<Reply> Connection::receive(Deadline deadline) {
  auto reply = receive_until(deadline, true);
  if (!reply) return reply.error();
  return std::move(**reply);
}

Result<std::optional<Reply>> Connection::receive_waiting() { return receive_until(Deadline::never(), false); }

Result<std::optional<Reply>> Connection::receive_until(Deadline deadline, bool wait) {
  Impl& s = *impl_;
  const auto fail = [&](const Error& e) {
    // Race 21: a connection that still owes a reply would give it to the next caller. Ablated, it is offered again.
    s.broken = e.code != Errc::deadline_exceeded || !lab::ablated(lab::Remedy::reply_close);
    return s.failure(e.code, e.message);
  };
  if (s.broken) return s.failure(Errc::unavailable, "the connection is broken");
  for (;;) {
    auto reply = s.parser.next();
    if (!reply) return fail(reply.error());
    if (*reply) return reply;
    // Checked here, not only while waiting: a peer that dribbles is always readable.
    if (deadline.passed()) return fail({Errc::deadline_exceeded, "no answer in time"});
    char bytes[16 * 1024];
    auto n = wait ? s.socket.receive(bytes, sizeof bytes, deadline) : s.socket.receive(bytes, sizeof bytes);
    if (!n) return fail(n.error());
    if (*n == 0) {
      if (!wait) return std::optional<Reply>();
      continue;  // the time is looked at
    }
    if (auto fed = s.parser.feed(bytes, *n); !fed) return fail(fed.error());
  }
}

Result<Reply> Connection::call(std::span<const std::string_view> argv, Deadline deadline) {
  append(argv);
  if (auto sent = flush(deadline); !sent) return sent.error();
  return receive(deadline);
}

bool Connection::broken() const noexcept { return impl_->broken; }
bool Connection::quiet() const noexcept { return impl_->socket.quiet(); }
int Connection::fd() const noexcept { return impl_->socket.fd(); }
const std::string& Connection::run_id() const noexcept { return impl_->run_id; }
std::uint64_t Connection::server() const noexcept {
  constexpr std::size_t digits = 16;
  std::uint64_t number = 0;
  const std::string& id = impl_->run_id;
  std::from_chars(id.data(), id.data() + std::min(id.size(), digits), number, 16);
  return number;
}
const std::string& Connection::client_id() const noexcept { return impl_->client_id; }
const std::string& Connection::role() const noexcept { return impl_->role; }
const std::string& Connection::peer() const noexcept { return impl_->peer; }
void Connection::shutdown() noexcept { impl_->socket.shutdown(); }

}  // namespace tiercache::l2
