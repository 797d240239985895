// SPDX-License-Identifier: Apache-2.0
#include <tiercache/l2/client.hpp>

#include "counters.hpp"
#include "exchange.hpp"
#include "operations.hpp"
#include "pool.hpp"
#include "put_groups.hpp"
#include "unanswered.hpp"

#include <tiercache/base/lab.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace tiercache::l2 {
namespace {

class Client final : public RemotePort {
 public:
  Client(const Options& options, const Naming& naming, Log log, std::optional<std::chrono::milliseconds> first_wait)
      : options_(options),
        operations_(naming, options.shards),
        groups_(options.shards, counters_, [this](const RemoteRequest& q, RemoteReply& r) { return execute(q, r); }) {
    if (options_.enabled) pool_.emplace(options_, std::move(log), counters_, first_wait.value_or(options_.connect_timeout));
  }

  bool start(const RemoteRequest& request, RemoteReply& reply, std::coroutine_handle<> /*resume*/) noexcept override {
    reply = RemoteReply{};
    try {
      reply.error = request.op == RemoteOp::put ? put(request, reply) : execute(request, reply);
    } catch (...) {  // no memory, so no message either; the connection, if one was lent, was closed by its loan
      reply.error.emplace().code = Operations::writes(request.op) ? Errc::outcome_unknown : Errc::internal;
    }
    if (reply.error) counters_.errors.count(reply.error->code);
    return true;
  }

  [[nodiscard]] bool available() const noexcept override { return pool_ && pool_->available(); }

  [[nodiscard]] RemoteStats stats() const override {
    constexpr auto relaxed = std::memory_order_relaxed;
    RemoteStats s;
    s.enabled = options_.enabled;
    s.available = available();
    s.connects = counters_.connects.load(relaxed);
    s.reconnects = counters_.reconnects.load(relaxed);
    s.connections = pool_ ? pool_->open_connections() : 0;
    s.commands = counters_.commands.load(relaxed);
    s.timeouts = counters_.timeouts.load(relaxed);
    s.closed_on_error = counters_.closed_on_error.load(relaxed);
    s.script_loads = counters_.script_loads.load(relaxed);
    s.latency = counters_.latency.snapshot();
    s.errors = counters_.errors.snapshot();
    s.put_groups = counters_.put_groups.load(relaxed);
    s.grouped_puts = counters_.grouped_puts.load(relaxed);
    s.queued_puts = counters_.queued_puts.load(relaxed);
    return s;
  }

  void close(Deadline deadline) noexcept override {
    if (pool_) pool_->close(deadline);
  }

 private:
  Deadline deadline_of(const RemoteRequest& request) const {
    if (request.deadline.at() != SteadyTime::max()) return request.deadline;
    constexpr int clear_factor = 120;  // it walks the key space
    const bool walks = request.op == RemoteOp::clear || request.op == RemoteOp::clear_all || request.op == RemoteOp::tag_stamp;
    return Deadline::after(walks ? options_.call_timeout * clear_factor : options_.call_timeout);
  }

  static Pool::Use use_of(RemoteOp op) noexcept {
    switch (op) {
      case RemoteOp::heartbeat:
      case RemoteOp::resync:
      case RemoteOp::lease_renew:
      case RemoteOp::lease_release:
      case RemoteOp::ping: return Pool::Use::upkeep;
      default: return Pool::Use::call;
    }
  }

  /// A put that may go with others (put_groups.hpp) or must go alone.
  std::optional<Error> put(const RemoteRequest& request, RemoteReply& reply) {
    const bool alone = !available() || request.payload.size() >= PutGroups::alone_from || !request.tags.empty() ||
                       lab::ablated(lab::Remedy::atomic_write);
    if (alone) return execute(request, reply);
    // Before it can stand in a group: what is wrong with it must not be what is wrong with all.
    if (const auto prepared = operations_.prepare(request); !prepared) return prepared.error();
    RemoteRequest timed = request;
    timed.deadline = deadline_of(request);
    return groups_.run(timed, reply);
  }

  std::optional<Error> execute(const RemoteRequest& request, RemoteReply& reply) {
    const auto prepared = operations_.prepare(request);
    if (!prepared) return prepared.error();
    if (!pool_) return Error{Errc::unavailable, "Redis is switched off (l2.enabled)"};
    const Deadline deadline = deadline_of(request);
    if (deadline.passed()) return Error{Errc::deadline_exceeded, "no time was left to send"};
    constexpr int attempts = 2;  // the second one only where the first certainly did nothing, or may be repeated
    for (int attempt = 1;; ++attempt) {
      auto loan = pool_->borrow(deadline, use_of(request.op));
      if (!loan) return loan.error();
      Exchange x(**loan, deadline, counters_);
      const bool lasting = leaves_traces(request.op);
      const auto forgotten = lasting ? kill_unanswered(x) : Result<void>{};
      if (!forgotten) {
        counters_.closed_on_error.fetch_add(1, std::memory_order_relaxed);
        if (forgotten.error().code == Errc::deadline_exceeded) loan->timed_out();
        return forgotten.error();  // nothing of the request was sent
      }
      x.forget_sent();
      const auto done = operations_.run(request, *prepared, x, reply);
      // These say that every reply was read: refusals, and a clear that one of them ended.
      const auto is = [&](Errc code) { return done.error().code == code; };
      for (auto& value : reply.values) {
        if (value) value->server = (*loan)->server();
      }
      if (done || is(Errc::refused) || is(Errc::superseded) || is(Errc::outcome_unknown)) {
        std::optional<Error> alone = done ? too_few_replicas(request.op, x) : std::nullopt;
        if (alone && x.connection().broken()) return alone;  // the write itself was answered
        loan->done();
        if (alone) return alone;
        if (done) return std::nullopt;
        // Somebody else is the master now: whoever resolves the address again will find it.
        if (done.error().message.starts_with("READONLY")) pool_->renew();
        return done.error();
      }
      Error error = done.error();
      if (error.code == Errc::deadline_exceeded) {
        counters_.timeouts.fetch_add(1, std::memory_order_relaxed);
        if (x.sent() && !x.answered()) loan->timed_out();
      }
      if (x.sent() && error.code != Errc::unavailable) counters_.closed_on_error.fetch_add(1, std::memory_order_relaxed);
      if (lasting && x.sent()) unanswered_.add((*loan)->run_id(), (*loan)->client_id());
      const bool unknown = Operations::writes(request.op) && x.sent();
      if (error.code == Errc::unavailable && !unknown && attempt < attempts) {
        reply = RemoteReply{};
        continue;  // the loan ends here and closes the connection
      }
      if (unknown) error.code = Errc::outcome_unknown;
      return error;
    }
  }

  /// Whether the request, run late, could undo what was answered since: writes, and what takes or gives back a lease.
  static bool leaves_traces(RemoteOp op) noexcept {
    return op != RemoteOp::get && op != RemoteOp::exists && op != RemoteOp::ping && op != RemoteOp::heartbeat &&
           op != RemoteOp::resync && op != RemoteOp::tag_members && op != RemoteOp::members;
  }

  /// What its caller is told ok of: only those wait for replicas. A fill can be made again from what was loaded; of an update the
  /// end is told, and replicas have what came before it when they have that.
  static bool acknowledges(RemoteOp op) noexcept {
    return op == RemoteOp::put || op == RemoteOp::put_many || op == RemoteOp::erase || op == RemoteOp::clear ||
           op == RemoteOp::clear_all || op == RemoteOp::ungate;
  }

  /// Waits, on the connection that wrote, until enough replicas have what was written. Nothing is undone or repeated when they do
  /// not: it stands, and may be lost with this master.
  std::optional<Error> too_few_replicas(RemoteOp op, Exchange& x) {
    if (options_.wait_replicas == 0 || !acknowledges(op)) return std::nullopt;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(x.deadline().left());
    // The answer needs some of the time that is left; 0 would be for ever.
    const auto wait = std::max(std::chrono::milliseconds(1), std::min(options_.wait_timeout, left * 3 / 4));
    const auto r = x.call({"WAIT", std::to_string(options_.wait_replicas), std::to_string(wait.count())});
    if (!r) return Error{Errc::unreplicated, "the write was done; WAIT failed: " + r.error().message};
    if (r->type == Reply::Type::integer && r->integer >= static_cast<std::int64_t>(options_.wait_replicas)) return std::nullopt;
    return Error{Errc::unreplicated, "the write was done; of " + std::to_string(options_.wait_replicas) + " replicas " +
                                         std::to_string(r->integer) + " confirmed it"};
  }

  Result<void> kill_unanswered(Exchange& x) {
    if (lab::ablated(lab::Remedy::late_write)) return {};
    const std::vector<std::string> ids = unanswered_.of(x.connection().run_id());
    if (ids.empty()) return {};
    for (const std::string& id : ids) x.connection().append({"CLIENT", "KILL", "ID", id});
    const auto done = x.pipeline(ids.size());
    // Not allowed to: the ACL lacks client|kill. The write goes on without this protection; docs/guarantees.md says so.
    if (!done && done.error().code != Errc::refused) return done.error();
    unanswered_.killed(ids);
    return {};
  }

  const Options options_;
  Counters counters_;
  Unanswered unanswered_;
  Operations operations_;
  PutGroups groups_;
  std::optional<Pool> pool_;  // last: its thread uses the rest
};

}  // namespace

std::unique_ptr<RemotePort> open_client(const Options& options, const Naming& naming, Log log,
                                        std::optional<std::chrono::milliseconds> first_wait) {
  return std::make_unique<Client>(options, naming, std::move(log), first_wait);
}

}  // namespace tiercache::l2
