// SPDX-License-Identifier: Apache-2.0
#include "instance.hpp"

#include "audit.hpp"
#include "board.hpp"
#include "clock.hpp"
#include "pace.hpp"
#include "random.hpp"
#include "session.hpp"

#include <tiercache/base/lab.hpp>

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace tiercache::chaos {
namespace {

using demo::now_ns;
using demo::ns_per_ms;
using demo::Random;
using demo::sleep_ns;

/// True for a probe's id ("p7") and for its physical key ("env:resource:type:p7").
bool names_probe(std::string_view key) noexcept {
  const std::size_t colon = key.rfind(':');
  const std::size_t at = colon == std::string_view::npos ? 0 : colon + 1;
  return at < key.size() && key[at] == 'p';
}

/// Whether this thread, where it meets L1 invalid between the loads of a hit, stands still until it is valid again.
thread_local bool stops_while_invalid = false;

/// Pauses between the protocol's steps, on probes only: each puts a write of the probe, or a whole fault, into a race's window.
void set_pauses(std::int64_t budget_ns, const InstanceBlock& block) {
  lab::hook = [budget_ns, &block](lab::Point point, std::string_view key) {
    if (!names_probe(key)) return;
    switch (point) {
      case lab::Point::l2_reply_to_l1_commit:
      case lab::Point::fence_check_to_install:
      case lab::Point::publish_to_store: return sleep_ns(20 * ns_per_ms);
      case lab::Point::coherence_loads:
        if (stops_while_invalid) {
          for (const std::int64_t end = now_ns() + 3 * budget_ns; block.coherent_since.load() == 0 && now_ns() < end;)
            sleep_ns(ns_per_ms);
          return;
        }
        [[fallthrough]];
      case lab::Point::validity_to_probe: {
        // Rarely, but then as long as a link takes to break and to come back.
        thread_local Random random(static_cast<std::uint64_t>(now_ns()));
        if (random.below(128) == 0) sleep_ns(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(2 * budget_ns))));
        return;
      }
      default: return;
    }
  };
}

bool pauses(const Settings& settings, unsigned index) noexcept { return ((settings.pausing >> index) & 1U) != 0; }

class Instance {
 public:
  Instance(const Board& board, unsigned index, Store store)
      : board_(board),
        settings_(board.settings()),
        block_(board.instances()[index]),
        index_(index),
        store_(std::move(store)),
        shop_(board, index, store_.cache<Cell>("cell", {.ttl = std::chrono::minutes(2)})),
        zipf_(settings_.keys, settings_.zipf) {}

  /// False: the run failed.
  bool live() {
    std::jthread control([this](const std::stop_token& stop) { run_control(stop); });
    done_with(Stage::starting);
    if (await(Stage::running)) run_sessions();
    done_with(Stage::draining);
    if (await(Stage::checking)) {
      const Audit audit = audit_rows(board_, index_, shop_.cells, shop_.names);
      block_.checked.store(audit.keys);
      block_.present.store(audit.present);
      block_.wrong_copies.store(audit.wrong);
      block_.excused_copies.store(audit.excused);
      block_.check_errors.store(audit.errors);
      done_with(Stage::checking);
      await(Stage::ending);
    }
    return !failed();
  }

 private:
  [[nodiscard]] bool failed() const { return board_.header().failed.load(std::memory_order_relaxed); }
  void done_with(Stage stage) { block_.done.store(static_cast<std::uint32_t>(stage) + 1, std::memory_order_release); }
  bool await(Stage stage) const {
    while (board_.stage() < stage && !failed()) sleep_ns(2 * ns_per_ms);
    return !failed();
  }

  void run_sessions() {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < settings_.threads; ++t) threads.emplace_back([this, t] { work(t); });
    if (settings_.probes != 0) {
      for (unsigned r = 0; r < Board::probe_readers; ++r) threads.emplace_back([this, r] { read_probes(r); });
      threads.emplace_back([this] { write_probes(); });
      threads.emplace_back([this] { cross_probes(); });
    }
  }

  /// What a session still owes is paid before it ends.
  void finish(Session& session) const {
    for (const std::int64_t end = now_ns() + 30 * demo::ns_per_s; !session.settled() && !failed(); sleep_ns(2 * ns_per_ms)) {
      session.settle();
      if (now_ns() > end) return fail_run(board_, "a write could not be finished within 30 s after the last fault");
    }
  }

  void work(unsigned thread) {
    Session session(shop_, thread);
    Pace pace(static_cast<double>(settings_.writes_a_second) / (settings_.instances * settings_.threads), now_ns());
    const std::uint32_t mine = index_ * settings_.threads + thread;
    // The reads so far: no incarnation repeats the one before.
    Random random(settings_.seed + mine * 1000003ULL + board_.sessions(index_)[thread].reads.get());
    constexpr unsigned burst = 32;
    while (board_.running()) {
      for (unsigned i = 0; i < burst; ++i) session.read(zipf_(random));
      session.settle();
      if (session.settled() && pace.due(now_ns())) pace.wrote(write_some(session, mine, random));
      if (random.below(64) == 0) {
        std::array<std::uint32_t, 16> keys;
        std::generate(keys.begin(), keys.end(), [&] { return zipf_(random); });
        session.read_many(keys);
      }
    }
    finish(session);
  }

  /// Six calls of ten write one row, of a key that is read often, one erases and three put many. -> rows.
  std::size_t write_some(Session& session, std::uint32_t mine, Random& random) const {
    const std::uint32_t sessions = settings_.instances * settings_.threads;
    const std::uint64_t dice = random.below(10);
    if (dice < 6) {
      const std::uint32_t key = zipf_(random);
      session.write(write_kind_of(key) == WriteKind::plain ? owned_key(key, mine, sessions) : key);
      return 1;
    }
    const std::vector<std::uint32_t> keys = dice < 7 ? some_erased(random) : some_put(mine, sessions, random);
    session.write_many(keys);
    return keys.size();
  }

  /// Neighbours, from where keys are read now and then: were hot keys gone all the time, L1 would have nothing to answer.
  std::vector<std::uint32_t> some_erased(Random& random) const {
    std::vector<std::uint32_t> keys;
    auto key = settings_.keys / 4 + static_cast<std::uint32_t>(random.below(settings_.keys / 4 * 3));
    for (; keys.size() < batch_max && keys.size() < settings_.keys / 4; key = (key + 1) % settings_.keys) {
      if (write_kind_of(key) == WriteKind::erase) keys.push_back(key);
    }
    return keys;
  }
  /// Likewise, of those that the session owns: each has one writer, so a put needs no version.
  std::vector<std::uint32_t> some_put(std::uint32_t mine, std::uint32_t sessions, Random& random) const {
    std::vector<std::uint32_t> keys;
    const std::uint32_t owned = settings_.keys / (4 * sessions);
    const auto first = owned / 4 + static_cast<std::uint32_t>(random.below(owned - owned / 4));
    for (std::uint32_t i = 0; i < std::min<std::uint32_t>(batch_max, owned); ++i)
      keys.push_back(owned_key((first + i) % owned * 4 * sessions, mine, sessions));
    return keys;
  }

  /// Every second reader leaves its probes alone for a while when L1 has become invalid, so that what it held then is still there
  /// and has grown old; then it begins to read, and is stopped in the midst of that until L1 is valid again.
  void read_probes(unsigned reader) {
    Session session(shop_, settings_.threads + reader);
    Random random(settings_.seed + 900 + index_ * Board::probe_readers + reader);
    stops_while_invalid = reader % 2 == 1 && pauses(settings_, index_);
    while (board_.running()) {
      for (std::uint32_t p = reader; p < settings_.probes; p += Board::probe_readers) {
        if (stops_while_invalid) lull(random);
        session.read(settings_.keys + p);
      }
      sleep_ns(4 * ns_per_ms);
    }
  }
  void lull(Random& random) const {
    const auto length = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(settings_.budget_ns)));
    for (const std::int64_t end = now_ns() + length; !store_.health().l1_coherent && now_ns() < end;) sleep_ns(ns_per_ms);
  }

  /// Bursts of three writes with gaps about as long as the pauses; then nothing for longer than the budget, so that what a broken
  /// check let through is read.
  void write_probes() {
    Session session(shop_, settings_.threads + Board::probe_readers);
    Random random(settings_.seed + 500 + index_);
    struct Plan {
      std::uint32_t key;
      std::int64_t due;
      unsigned left;
    };
    std::vector<Plan> plans;
    const auto rest = static_cast<std::uint64_t>(3 * settings_.budget_ns);
    for (std::uint32_t p = 0; p < settings_.probes; ++p) {
      const std::uint32_t key = settings_.keys + p;
      const bool mine = write_kind_of(key) != WriteKind::versioned && p / 4 % settings_.instances == index_;
      if (mine) plans.push_back({key, now_ns() + static_cast<std::int64_t>(random.below(rest)), 3});
    }
    while (board_.running() && !plans.empty()) {
      session.settle();
      Plan& next = *std::min_element(plans.begin(), plans.end(), [](const Plan& a, const Plan& b) { return a.due < b.due; });
      if (const std::int64_t wait = next.due - now_ns(); wait > 0 || !session.settled()) {
        sleep_ns(std::clamp(wait, ns_per_ms, 5 * ns_per_ms));
        continue;
      }
      session.write(next.key);
      next.left = next.left == 1 ? 3 : next.left - 1;
      next.due = now_ns() + static_cast<std::int64_t>(next.left == 3 ? rest : 5 * ns_per_ms + random.below(55 * ns_per_ms));
    }
    finish(session);
  }

  /// The versioned probes have all instances for writers, which write each of them three times at a time that all know of: one
  /// after the other, each after a rest longer than the budget. Who pauses hesitates between a commit and its put, so puts cross
  /// also when no fault holds one of them up.
  void cross_probes() {
    Session session(shop_, settings_.threads + Board::probe_readers + 1);
    Random random(settings_.seed + 700 + index_);
    const std::uint32_t shared = settings_.probes / 4;
    const std::int64_t turn_ns = 4 * settings_.budget_ns / shared;
    while (board_.running()) {
      const std::int64_t turn = now_ns() / turn_ns + 1;
      while (board_.running() && (now_ns() < turn * turn_ns || !session.settled())) {
        session.settle();
        sleep_ns(ns_per_ms);
      }
      const std::uint32_t key = settings_.keys + 4 * static_cast<std::uint32_t>(turn % shared) + 2;
      for (int i = 0; i < 3 && session.settled() && board_.running(); ++i) {
        sleep_ns(static_cast<std::int64_t>(random.below(20 * ns_per_ms)));
        session.write_many({&key, 1}, pauses(settings_, index_) ? static_cast<std::int64_t>(random.below(20 * ns_per_ms)) : 0);
      }
    }
    finish(session);
  }

  /// Carries the parent's faults to the library's switches and the library's state to the parent.
  void run_control(const std::stop_token& stop) {
    for (unsigned turn = 0;; ++turn) {
      if (turn % 8 == 0) show_stats();
      if (stop.stop_requested()) return;
      carry();
      sleep_ns(2 * ns_per_ms);
    }
  }
  void show_stats() const {
    const StoreSnapshot s = store_.stats();
    block_.subscribed.store(s.bus.subscribed);
    block_.bus_messages.store(s.bus.messages);
    block_.grouped_puts.store(s.l2.grouped_puts);
  }
  void carry() const {
    lab::bus_reader_stopped.store(block_.stop_reader.load(std::memory_order_relaxed));
    lab::bus_link_cut.store(block_.cut_link.load(std::memory_order_relaxed));
    const std::int64_t now = now_ns();
    const Health health = store_.health();
    if (!health.l1_coherent || !health.l2_available) block_.coherent_since.store(0);
    else if (block_.coherent_since.load() == 0) block_.coherent_since.store(now);
    block_.seen.store(now);
  }

  const Board& board_;
  const Settings& settings_;
  InstanceBlock& block_;
  const unsigned index_;
  Store store_;
  Shop shop_;
  demo::ZipfSampler zipf_;
};

}  // namespace

int run_instance(int fd, unsigned index) {
  prctl(PR_SET_TIMERSLACK, 1000UL);
  Result<Board> board = Board::attach(fd);
  if (!board || index >= board->settings().instances) return 2;
  const Settings& settings = board->settings();
  InstanceBlock& block = board->instances()[index];
  block.coherent_since.store(0);
  block.pid.store(getpid());
  lab::ablated_mask.store(settings.ablated);
  if (pauses(settings, index)) set_pauses(settings.budget_ns, block);
  Result<Store> store = Store::open(instance_config(settings, settings.ports[index]));
  if (!store) {
    fail_run(*board, store.error().message);
    return 2;
  }
  return Instance(*board, index, std::move(*store)).live() ? 0 : 2;
}

}  // namespace tiercache::chaos
