// SPDX-License-Identifier: Apache-2.0
//
// The shell around the subscription machine: a socket, a clock and the thread "tc-bus". What decides is in machine.cpp.
//
// The thread waits in Connection::receive until a message comes or the link counts as silent, so a time-out ends the link in any
// case and no half-read reply is ever left behind. stop() wakes it by shutting the socket down, or by the cancel descriptor while
// it connects.
#include <tiercache/invalidation/bus.hpp>

#include "heartbeat.hpp"
#include "tracking.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>
#include <tiercache/base/thread.hpp>
#include <tiercache/invalidation/machine.hpp>
#include <tiercache/l2/client.hpp>
#include <tiercache/l2/connection.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace tiercache::invalidation {
namespace {

SteadyTime now() noexcept { return std::chrono::steady_clock::now(); }

std::string channel_name(const l2::Naming& naming, std::uint32_t shards, std::uint32_t shard) {
  std::string channel = naming.env + ":" + naming.resource + ":!bus";
  if (shards == 0) return channel;
  char digits[8];
  const auto end = std::to_chars(digits, digits + sizeof digits, shard, 16).ptr;
  return channel + (end - digits < 2 ? ":{0" : ":{") + std::string(digits, end) + "}";
}

/// Passes everything on and logs gaps. No key is in a line.
class LoggingSink final : public BusSink {
 public:
  LoggingSink(BusSink& sink, const Log& log) : sink_(sink), log_(log) {}
  void on_invalidate(ShardId shard, std::string_view key, std::uint64_t version, std::uint64_t origin,
                     std::uint64_t write_id) noexcept override {
    sink_.on_invalidate(shard, key, version, origin, write_id);
  }
  void on_clear(ShardId shard, std::string_view type, std::uint64_t origin, std::uint64_t write_id) noexcept override {
    sink_.on_clear(shard, type, origin, write_id);
  }
  void on_gap(ShardId shard, GapReason reason) noexcept override {
    sink_.on_gap(shard, reason);  // first: nothing may come between the loss and its remedy
    const bool usual = reason == GapReason::subscribed;
    const LogLevel level = usual ? LogLevel::info : LogLevel::warn;
    if (!log_.wants(level) || !once_[static_cast<std::size_t>(reason)]()) return;
    try {
      log_(level, usual ? "bus: subscribed" : "bus: gap " + std::string(name(reason)) + " on shard " + std::to_string(shard));
    } catch (...) {  // no memory for a line
    }
  }
  void on_wake(ShardId shard, std::string_view key) noexcept override { sink_.on_wake(shard, key); }
  void on_coherent(ShardId shard, SteadyTime until) noexcept override { sink_.on_coherent(shard, until); }
  void on_epoch(ShardId shard, std::uint64_t epoch) noexcept override { sink_.on_epoch(shard, epoch); }
  void on_server(std::uint64_t server) noexcept override { sink_.on_server(server); }
  void on_applied(ShardId shard, std::uint64_t epoch, std::uint64_t sequence) noexcept override {
    sink_.on_applied(shard, stream_id(epoch, run_id_), sequence);
  }
  /// The server that the link leads to from now on.
  void set_run_id(std::string_view run_id) { run_id_ = run_id; }

 private:
  struct Once : OncePer {
    Once() : OncePer(std::chrono::seconds(1)) {}
  };
  BusSink& sink_;
  const Log& log_;
  std::string run_id_;
  std::array<Once, gap_reason_count> once_;
};

bool link_cut() noexcept {
#ifdef TIERCACHE_LAB
  return lab::bus_link_cut.load(std::memory_order_relaxed);
#else
  return false;
#endif
}

/// What the thread "tc-bus" works on. Shared with the thread: one that still hangs in a connect when the time to stop is up (only
/// a look-up of the host's name can, the rest is cancelled) is left behind, and touches nothing but this afterwards.
class Subscriber {
 public:
  Subscriber(const MachineOptions& machine, const l2::Options& l2, const std::vector<std::string>& channels,
             const std::optional<TrackingOptions>& tracking, BusSink& sink, Heartbeat& beat, const Log& log, RemotePort& remote)
      : l2_(l2),
        channels_(channels),
        log_(log),
        sink_(sink, log_),
        tracking_(tracking ? std::make_unique<Tracking>(*tracking, sink_) : nullptr),
        beat_(beat),
        remote_(remote),
        page_timeout_(std::min<Duration>(l2.call_timeout, machine.budget / 8)),
        machine_(machine, tracking_ ? static_cast<BusSink&>(*tracking_) : sink_, random_u64()) {
    for (std::size_t i = 0; i < channels_.size(); ++i) shard_of_.emplace(channels_[i], static_cast<ShardId>(i));
  }
  ~Subscriber() {
    if (cancel_ >= 0) close(cancel_);
  }
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  void run() noexcept {
    while (!stopping()) {
      try {
        turn();
      } catch (...) {  // out of memory: what was being read is lost with its link, and the gap says so
        lose_link();
      }
      if (left_behind_) return;
    }
    drop_connection();
    const std::lock_guard lock(mutex_);
    phase_ = Phase::ended;
    changed_.notify_all();
  }

  void request_stop() noexcept {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (connection_) connection_->shutdown();
    if (cancel_ >= 0) eventfd_write(cancel_, 1);
    changed_.notify_all();
  }
  /// True: the thread ended or is about to, join it. False: it hangs in a connect; it will end by itself and calls nobody.
  [[nodiscard]] bool wait_ended(Deadline deadline) noexcept {
    std::unique_lock lock(mutex_);
    const auto ended = [this] { return phase_ == Phase::ended; };
    if (deadline.at() == SteadyTime::max()) changed_.wait(lock, ended);
    else changed_.wait_until(lock, deadline.at(), ended);
    if (phase_ != Phase::connecting) return true;
    phase_ = Phase::abandoned;
    return false;
  }
  /// Lab: what a cable does that is pulled while the thread waits.
  void shut_link() noexcept {
    const std::lock_guard lock(mutex_);
    if (connection_) connection_->shutdown();
  }
  [[nodiscard]] const MachineCounters& counters() const noexcept { return machine_.counters(); }
  [[nodiscard]] const TrackingCounters* tracking() const noexcept { return tracking_ ? &tracking_->counters() : nullptr; }

 private:
  enum class Phase : std::uint8_t { running, connecting, abandoned, ended };

  bool stopping() noexcept {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  void turn() {
    if (link_cut()) {
      lose_link();
      return pause_until(now() + std::chrono::milliseconds(2));
    }
    switch (machine_.tick(now())) {
      case Machine::Action::connect: return connect();
      case Machine::Action::close: return drop_connection();
      default: break;
    }
    if (!connection_) return pause_until(machine_.wake_at());
    if (const auto wanted = machine_.wanted(now())) {
      ask_log(*wanted);
      return receive_some();
    }
    receive();
  }

  /// One page of the log, on this thread: what comes over the link meanwhile waits for at most the page's time-out. A thread of
  /// its own would have to hand its pages over in step with the link.
  void ask_log(const Machine::Wanted& wanted) {
    RemoteRequest request;
    request.op = RemoteOp::resync;
    request.shard = wanted.shard;
    request.epoch = wanted.epoch;
    request.sequence = wanted.from;
    request.deadline = Deadline::after(page_timeout_);
    RemoteReply reply;
    remote_.start(request, reply, nullptr);
    Machine::Page page;
    page.last = static_cast<std::uint64_t>(reply.count);
    page.messages = reply.messages;
    if (reply.error) page.state = is_transient(reply.error->code) ? Machine::Page::State::later : Machine::Page::State::lost;
    // Calls may still reach another server than this link leads to (a master that was replaced): what its log has says nothing of
    // the stream that is heard here.
    else
      page.state = reply.applied && reply.stream == stream_id(wanted.epoch, connection_->run_id()) ? Machine::Page::State::found
                                                                                                   : Machine::Page::State::lost;
    if (reply.error && log_failure_()) log_(LogLevel::warn, "bus: cannot read the log: " + reply.error->message);
    const bool done = machine_.page(wanted.shard, page, now());
    beat_.applied(wanted.shard, machine_.applied(wanted.shard));
    if (machine_.take_hurry() || done) beat_.hurry();
  }
  /// Whether Redis may answer later. Refused for good is what it does not allow or know.
  static bool is_transient(Errc code) noexcept {
    return code == Errc::unavailable || code == Errc::deadline_exceeded || code == Errc::closed;
  }

  /// What has come already, but no more than a share of it at a time: the next page may be what a great many hits wait for.
  void receive_some() {
    constexpr int most = 256;
    for (int i = 0; i < most && connection_; ++i) {
      auto reply = connection_->receive_waiting();
      hold_while_stopped();
      if (stopping() || link_cut()) return;
      if (!reply) return lose_link();
      if (!*reply) return;
      if (!take(**reply)) return lose_link();
    }
  }

  void pause_until(SteadyTime at) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, std::min(at, now() + std::chrono::hours(1)), [this] { return stopping_; });
  }

  void connect() {
    if (!enter_connecting()) return;
    auto opened = l2::Connection::open(l2_, Deadline::after(l2_.connect_timeout), cancel_);
    if (!leave_connecting(opened ? std::move(*opened) : nullptr)) return;
    if (!connection_) {
      if (!opened && log_failure_()) log_(LogLevel::warn, "bus: cannot connect: " + opened.error().message);
      return machine_.disconnected(now());
    }
    sink_.set_run_id(connection_->run_id());
    if (machine_.connected(now()) == Machine::Action::subscribe) subscribe();
  }
  bool enter_connecting() noexcept {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    phase_ = Phase::connecting;
    return true;
  }
  /// False: stop. Once abandoned, this object is all that still exists.
  bool leave_connecting(std::unique_ptr<l2::Connection> connection) noexcept {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::abandoned) return left_behind_ = true, false;
    phase_ = Phase::running;
    if (stopping_) return false;
    connection_ = std::move(connection);
    return true;
  }

  void subscribe() {
    std::vector<std::string_view> argv{"SUBSCRIBE"};
    if (tracking_) {
      tracking_->begin(*connection_);
      argv.push_back(Tracking::channel);
    }
    argv.insert(argv.end(), channels_.begin(), channels_.end());
    connection_->append(argv);
    if (auto sent = connection_->flush(Deadline(machine_.link_due_at())); !sent) lose_link();
  }

  void receive() {
    auto reply = connection_->receive(Deadline(machine_.link_due_at()));
    hold_while_stopped();
    if (stopping()) return;
    if (link_cut()) return;  // the next turn closes it; what came with the cut was not read
    if (!reply) {
      // Time up is for the machine to judge: silence. Anything else is the end of the link.
      if (machine_.tick(now()) == Machine::Action::close) return drop_connection();
      return lose_link();
    }
    if (!take(*reply)) lose_link();
  }

  /// False: the link is of no use.
  bool take(const l2::Reply& reply) {
    using Type = l2::Reply::Type;
    if (tracking_) {
      const Tracking::Taken taken = tracking_->take(reply);
      if (taken != Tracking::Taken::no) return take_tracking(taken, reply);
    }
    if (reply.type == Type::error) {
      if (log_failure_()) log_(LogLevel::warn, "bus: SUBSCRIBE was refused: " + reply.text);
      return false;
    }
    const auto& parts = reply.elements;
    if (reply.type != Type::array || parts.size() != 3 || parts[1].type != Type::string) return false;
    const auto shard = shard_of_.find(parts[1].text);
    if (shard == shard_of_.end()) return false;
    if (parts[0].text == "subscribe") {
      machine_.subscribed(shard->second, now());
      sink_.on_server(connection_->server());  // after the gap, and before anything of this server is heard
      if (machine_.counters().subscribed.load(std::memory_order_relaxed)) beat_.hurry();
      return true;
    }
    if (parts[0].text != "message" || parts[2].type != Type::string) return false;
    TIERCACHE_LAB_POINT(bus_message, parts[1].text);
    // After the message was read, so that the send time of any heartbeat whose echo it may be is among them.
    beat_.drain([this](const Heartbeat::Sent& s) { machine_.beat_sent(s.shard, s.number, s.at); });
    const std::string_view problem = machine_.message(shard->second, parts[2].text, now());
    beat_.applied(shard->second, machine_.applied(shard->second));
    if (machine_.take_hurry()) beat_.hurry();
    if (!problem.empty() && log_malformed_()) log_(LogLevel::warn, "bus: ignored a message: " + std::string(problem));
    if (!tracking_ || !tracking_->stalled(now())) return true;
    if (log_failure_()) log_(LogLevel::warn, "bus: heartbeats come back, but Redis' client tracking does not tell of them");
    return false;
  }
  bool take_tracking(Tracking::Taken taken, const l2::Reply& reply) {
    if (taken == Tracking::Taken::flushed) beat_.hurry();
    if (taken == Tracking::Taken::refused && log_failure_())
      log_(LogLevel::warn, "bus: CLIENT TRACKING was refused: " + reply.text);
    return taken == Tracking::Taken::yes || taken == Tracking::Taken::flushed;
  }

  void hold_while_stopped() {
#ifdef TIERCACHE_LAB
    while (lab::bus_reader_stopped.load(std::memory_order_relaxed) && !stopping()) {
      pause_until(now() + std::chrono::milliseconds(2));
    }
#endif
  }

  void lose_link() noexcept {
    drop_connection();
    machine_.disconnected(now());
  }
  void drop_connection() noexcept {
    std::unique_ptr<l2::Connection> gone;  // closed outside the lock
    const std::lock_guard lock(mutex_);
    gone.swap(connection_);
  }

  const l2::Options l2_;
  const std::vector<std::string> channels_;
  std::unordered_map<std::string, ShardId> shard_of_;
  Log log_;
  OncePer log_failure_{std::chrono::seconds(10)};
  OncePer log_malformed_{std::chrono::seconds(10)};
  LoggingSink sink_;
  const std::unique_ptr<Tracking> tracking_;  // null: without
  Heartbeat& beat_;
  RemotePort& remote_;
  const Duration page_timeout_;
  Machine machine_;
  const int cancel_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);  // readable from request_stop() on; -1: connects are not cut short
  bool left_behind_ = false;                                   // the thread's own
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<l2::Connection> connection_;  // written by the thread under mutex_, read by it without
  Phase phase_ = Phase::running;                // guarded by mutex_, as is stopping_
  bool stopping_ = false;
};

class Bus final : public BusPort {
 public:
  Bus(const Options& options, const l2::Options& l2, const l2::Naming& naming, RemotePort& remote, Log log)
      : log_(std::move(log)), l2_(l2), remote_(remote), beat_(heartbeat_options(options, l2), remote, log_) {
    machine_.shards = l2.shards;
    machine_.origin = naming.origin;
    machine_.budget = options.staleness_budget;
    machine_.backoff_min = l2.backoff_min;
    machine_.backoff_max = l2.backoff_max;
    // The log holds announcements only: what tracking alone would have told over a lost link is gone, so that link's loss voids.
    machine_.replay = options.log_entries != 0 && options.source == Source::bus;
    const std::uint32_t channels = std::max<std::uint32_t>(l2.shards, 1);
    for (std::uint32_t i = 0; i < channels; ++i) channels_.push_back(channel_name(naming, l2.shards, i));
    // Nothing larger than a message is expected here; the handshake's INFO is far below.
    l2_.max_reply_bytes = std::min<std::uint64_t>(l2_.max_reply_bytes, message_bytes_max + 64 * 1024);
    l2_.max_reply_elements = 16;
    if (options.source != Source::bus) {
      l2_.max_reply_elements = Tracking::elements_max;
      tracking_ = {options.source, naming.env + ":" + naming.resource + ":", channels_, naming.origin, options.staleness_budget};
    }
    if (!l2_.client_name.empty() && l2_.client_name.size() <= 60) l2_.client_name += "-bus";
  }
  ~Bus() override { stop(Deadline(SteadyTime{})); }

  void start(BusSink& sink) override {
    const auto subscriber = std::make_shared<Subscriber>(machine_, l2_, channels_, tracking_, sink, beat_, log_, remote_);
    {
      const std::lock_guard lock(mutex_);
      subscriber_ = subscriber;
    }
#ifdef TIERCACHE_LAB
    if (lab::bus_polls) {
      beat_.lab_poll = [subscriber] {
        if (link_cut()) subscriber->shut_link();
      };
    }
#endif
    beat_.start();
    try {
      thread_ = start_thread("tc-bus", [subscriber] { subscriber->run(); });
    } catch (...) {
      beat_.request_stop();
      beat_.join();
      throw;
    }
  }

  /// The thread "tc-bus" is joined, or left behind if it hangs in a connect. "tc-beat" is always joined, since it uses `remote`:
  /// a heartbeat under way may take until its own time-out.
  void stop(Deadline deadline) noexcept override {
    if (!thread_.joinable()) return;
    subscriber_->request_stop();
    beat_.request_stop();
    static_cast<void>(beat_.wait_ended(deadline));
    if (subscriber_->wait_ended(deadline)) thread_.join();
    else thread_.detach();
    beat_.join();
  }

  [[nodiscard]] BusStats stats() const override {
    BusStats s;
    s.enabled = true;
    s.heartbeats_sent = beat_.acknowledged();
    std::shared_ptr<Subscriber> subscriber;
    {
      const std::lock_guard lock(mutex_);
      subscriber = subscriber_;
    }
    if (!subscriber) return s;
    const MachineCounters& c = subscriber->counters();
    s.subscribed = c.subscribed.load(std::memory_order_relaxed);
    s.connects = c.connects.load(std::memory_order_relaxed);
    s.messages = c.messages.load(std::memory_order_relaxed);
    s.heartbeats_seen = c.heartbeats_seen.load(std::memory_order_relaxed);
    s.malformed = c.malformed.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < s.gaps.size(); ++i) s.gaps[i] = c.gaps[i].load(std::memory_order_relaxed);
    s.lag = c.lag.snapshot();
    s.resyncs_replayed = c.resyncs_replayed.load(std::memory_order_relaxed);
    s.resyncs_voided = c.resyncs_voided.load(std::memory_order_relaxed);
    s.messages_replayed = c.messages_replayed.load(std::memory_order_relaxed);
    if (const TrackingCounters* t = subscriber->tracking()) {
      s.tracking_messages = t->messages.load(std::memory_order_relaxed);
      s.tracking_keys = t->keys.load(std::memory_order_relaxed);
      s.malformed += t->malformed.load(std::memory_order_relaxed);
      s.gaps[static_cast<std::size_t>(GapReason::flushed)] = t->flushes.load(std::memory_order_relaxed);
    }
    return s;
  }

 private:
  /// A heartbeat may take as long as any call, but never so long that the next but one is due or its echo would prove nothing.
  static HeartbeatOptions heartbeat_options(const Options& options, const l2::Options& l2) {
    const auto interval = options.heartbeat_interval();
    return {std::max<std::uint32_t>(l2.shards, 1), interval, std::min({2 * interval, options.staleness_budget, l2.call_timeout}),
            options.staleness_budget};
  }

  const Log log_;
  l2::Options l2_;
  RemotePort& remote_;
  MachineOptions machine_;
  std::vector<std::string> channels_;
  std::optional<TrackingOptions> tracking_;  // nothing: the bus alone
  Heartbeat beat_;
  mutable std::mutex mutex_;  // stats() may race with start()
  std::shared_ptr<Subscriber> subscriber_;
  std::thread thread_;
};

/// The bus of a store without one: never coherent, never a gap.
class NoBus final : public BusPort {
 public:
  void start(BusSink&) override {}
  void stop(Deadline) noexcept override {}
  [[nodiscard]] BusStats stats() const override { return {}; }
};

}  // namespace

std::unique_ptr<BusPort> open_bus(const Options& options, const l2::Options& l2, const l2::Naming& naming, RemotePort& remote,
                                  Log log) {
  if (!options.enabled || !l2.enabled) return std::make_unique<NoBus>();
  return std::make_unique<Bus>(options, l2, naming, remote, std::move(log));
}

}  // namespace tiercache::invalidation
