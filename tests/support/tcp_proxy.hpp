// SPDX-License-Identifier: Apache-2.0
//
// A TCP proxy inside the test process: what the network does to a link between two peers on loopback. Header-only.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

namespace tiercache::testing {

/// What happens to the bytes of one direction. Counts are a connection's own and begin when the fault is set.
struct LinkFault {
  enum class Kind : std::uint8_t {
    pass,
    blackhole,  ///< taken and dropped: the sender sees its bytes acknowledged
    stall,      ///< not taken: the sender's buffers fill up
    delay,      ///< each piece that holds `text` (empty: each) goes on after `time`, and so does what follows it
    dribble,    ///< one byte every `time`
    truncate,   ///< `bytes` bytes go on, then both ends are closed
    flip,       ///< the lowest bit of byte number `bytes` (from 0) is turned over, once
    inject,     ///< `text` goes on in the place of the next piece of any connection, once; then pass
    filter,     ///< what a function of the connection's own makes of each piece goes on
    hold,     ///< from the first piece that holds `text` on, what a connection sends goes on when another fault is set, also when
              ///< its sender has closed since
    flip_in,  ///< in each piece that holds `text`, the lowest bit of byte number `bytes` behind its begin is turned over
  };
  /// Which connections it meets: a subscriber is one over which SUBSCRIBE was sent.
  enum class Only : std::uint8_t { all, subscribers, others };
  Kind kind = Kind::pass;
  std::chrono::milliseconds time{0};
  std::uint64_t bytes = 0;
  std::string text{};
  using Filter = std::function<std::string(std::string)>;
  std::function<Filter()> make_filter{};  ///< called once a connection, on the proxy's thread, as is what it returns
  Only only = Only::all;

  [[nodiscard]] LinkFault on(Only which) && { return only = which, std::move(*this); }
  static LinkFault pass() { return {}; }
  static LinkFault blackhole() { return {Kind::blackhole}; }
  static LinkFault stall() { return {Kind::stall}; }
  static LinkFault delay(std::chrono::milliseconds t, std::string text = {}) { return {Kind::delay, t, 0, std::move(text)}; }
  static LinkFault dribble(std::chrono::milliseconds t) { return {Kind::dribble, t}; }
  static LinkFault truncate(std::uint64_t after) { return {Kind::truncate, {}, after}; }
  static LinkFault flip(std::uint64_t at) { return {Kind::flip, {}, at}; }
  static LinkFault inject(std::string text) { return {Kind::inject, {}, 0, std::move(text)}; }
  static LinkFault filter(std::function<Filter()> make) { return {Kind::filter, {}, 0, {}, std::move(make)}; }
  static LinkFault hold(std::string text) { return {Kind::hold, {}, 0, std::move(text)}; }
  static LinkFault flip_in(std::string text, std::uint64_t at) { return {Kind::flip_in, {}, at, std::move(text)}; }
};

/// Listens on a free port of 127.0.0.1 and forwards to `target`, on one thread of its own. All members are thread-safe. A
/// change is in force when its call returns: bytes that the proxy reads afterwards meet it.
class TcpProxy {
 public:
  enum Direction : std::uint8_t { to_server, to_client };
  enum class Accept : std::uint8_t {
    forward,
    half_open,  ///< new connections are accepted and then neither read nor answered
    refuse,     ///< new connections are closed at once
  };

  explicit TcpProxy(std::uint16_t target) {
    wanted_.target = target;
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (listener_ < 0 || wake_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener_, 128) != 0 || getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("TcpProxy: cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~TcpProxy() {
    apply([this] { wanted_.ending = true; });
    thread_.join();
    close(listener_);
    close(wake_);
  }
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  void set(Direction direction, LinkFault fault) {
    apply([&] {
      wanted_.faults[direction] = std::move(fault);
      ++wanted_.serial[direction];
    });
  }
  void accept(Accept mode) {
    apply([&] { wanted_.accept = mode; });
  }
  /// Resets all open connections (RST).
  void cut() {
    apply([this] { ++wanted_.cuts; });
  }
  /// Connections from now on go to this port.
  void retarget(std::uint16_t target) {
    apply([&] { wanted_.target = target; });
  }
  /// Everything passes again, and what was open is reset: of a connection that lost bytes nothing may pass any more, as TCP would
  /// not let it.
  void restore() {
    apply([this] {
      clear_faults();
      ++wanted_.cuts;
    });
  }
  /// Everything passes again; open connections stay.
  void heal() {
    apply([this] { clear_faults(); });
  }
  [[nodiscard]] std::size_t connections() const {
    return locked([this] { return open_; });
  }
  [[nodiscard]] std::size_t accepted() const {
    return locked([this] { return accepted_; });
  }  ///< since the beginning
  /// Bytes read from the sender of the direction, whatever became of them.
  [[nodiscard]] std::uint64_t taken(Direction d) const {
    return locked([&] { return taken_[d]; });
  }
  /// Pieces and connections that a fault of any kind has met: dropped, held back, changed, closed, refused or never answered.
  [[nodiscard]] std::uint64_t met() const {
    return locked([this] { return met_; });
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Settings {
    std::array<LinkFault, 2> faults{};
    std::array<std::uint64_t, 2> serial{};
    Accept accept = Accept::forward;
    std::uint16_t target = 0;
    std::uint64_t cuts = 0;
    bool ending = false;
    std::uint64_t version = 0;
  };
  struct Piece {
    Time due;
    std::string bytes;
  };
  struct Flow {
    int from = -1;
    int to = -1;
    std::deque<Piece> pending{};
    std::uint64_t serial = 0;  // of the fault the counts belong to
    std::uint64_t count = 0;   // bytes taken under that fault
    bool ended = false;        // the sender closed
    Time next_byte{};
    LinkFault::Filter filter{};
  };
  struct Link {
    int client = -1;
    int server = -1;  // -1: half open
    std::array<Flow, 2> flows{};
    bool subscriber = false;
    bool dead = false;
  };
  static const LinkFault& fault_for(const Link& l, const LinkFault& fault) {
    static const LinkFault none;
    const bool meets = fault.only == LinkFault::Only::all || l.subscriber == (fault.only == LinkFault::Only::subscribers);
    return meets ? fault : none;
  }

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(port);
    return a;
  }
  template <class F>
  std::invoke_result_t<F> locked(F f) const {
    const std::lock_guard lock(mutex_);
    return f();
  }
  template <class F>
  void apply(F change) {
    std::unique_lock lock(mutex_);
    change();
    const std::uint64_t version = ++wanted_.version;
    eventfd_write(wake_, 1);
    adopted_changed_.wait(lock, [&] { return adopted_ >= version; });
  }

  void clear_faults() {
    for (Direction d : {to_server, to_client}) {
      wanted_.faults[d] = {};
      ++wanted_.serial[d];
    }
    wanted_.accept = Accept::forward;
  }

  void run() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    Settings now;
    while (!now.ending) {
      const std::uint64_t cuts = now.cuts;
      now = locked([this] { return wanted_; });
      if (now.cuts != cuts || now.ending) {
        for (Link& l : links_) close_link(l, true), count_met();
        links_.clear();
      }
      {
        const std::lock_guard lock(mutex_);
        adopted_ = now.version;
        open_ = links_.size();
        adopted_changed_.notify_all();
      }
      if (!now.ending) turn(now);
    }
  }

  // One wait and what it brought.
  void turn(const Settings& now) {
    std::vector<pollfd> polls = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
    Time next = Time::max();
    for (Link& l : links_) {
      for (std::uint8_t d = 0; d < 2; ++d) {
        Flow& f = l.flows[d];
        constexpr std::size_t pieces_max = 64;
        const bool reads = l.server >= 0 && !f.ended && f.pending.size() < pieces_max &&
                           fault_for(l, now.faults[d]).kind != LinkFault::Kind::stall;
        const Time due = due_of(f, fault_for(l, now.faults[d]));
        const bool writes = due <= std::chrono::steady_clock::now();
        if (!writes) next = std::min(next, due);
        polls.push_back({reads ? f.from : -1, POLLIN, 0});
        polls.push_back({writes ? f.to : -1, POLLOUT, 0});
      }
    }
    int wait = -1;
    if (next != Time::max()) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(next - std::chrono::steady_clock::now()).count() + 1;
      wait = static_cast<int>(std::clamp<std::int64_t>(left, 0, 1000));
    }
    poll(polls.data(), static_cast<nfds_t>(polls.size()), wait);
    if (polls[0].revents != 0) {
      eventfd_t ignored;
      eventfd_read(wake_, &ignored);
      return;  // adopt the change before another byte is read
    }
    std::size_t at = 2;
    for (Link& l : links_) {
      for (std::uint8_t d = 0; d < 2; ++d, at += 2) {
        if (!l.dead && polls[at].revents != 0) take(l, d, now);
        const LinkFault& fault = fault_for(l, now.faults[d]);
        if (!l.dead && due_of(l.flows[d], fault) <= std::chrono::steady_clock::now()) give(l, d, fault);
      }
    }
    for (Link& l : links_) {
      if (l.dead) close_link(l, false);
    }
    links_.remove_if([](const Link& l) { return l.dead; });
    if (polls[1].revents != 0) take_new(now);
  }

  static Time due_of(const Flow& f, const LinkFault& fault) {
    if (f.pending.empty()) return Time::max();
    if (f.pending.front().due == Time::max() && fault.kind != LinkFault::Kind::hold) return Time::min();
    return fault.kind == LinkFault::Kind::dribble ? std::max(f.next_byte, f.pending.front().due) : f.pending.front().due;
  }

  void take_new(const Settings& now) {
    const Accept mode = now.accept;
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    Link l;
    l.client = client;
    const int on = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (mode != Accept::forward) count_met();
    if (mode == Accept::refuse) return close_link(l, true);
    if (mode == Accept::forward) {
      l.server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      setsockopt(l.server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const sockaddr_in a = loopback(now.target);
      if (connect(l.server, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0 && errno != EINPROGRESS)
        return close_link(l, true);
      l.flows[to_server] = Flow{l.client, l.server};
      l.flows[to_client] = Flow{l.server, l.client};
    }
    links_.push_back(std::move(l));
    const std::lock_guard lock(mutex_);
    ++accepted_;
    open_ = links_.size();
  }

  void count_met() {
    const std::lock_guard lock(mutex_);
    ++met_;
  }

  static bool bytes_hold(const char* bytes, ssize_t n, std::string_view what) {
    return std::string_view(bytes, static_cast<std::size_t>(n)).find(what) != std::string_view::npos;
  }

  void take(Link& l, std::uint8_t d, const Settings& now) {
    Flow& f = l.flows[d];
    char buffer[16 * 1024];
    const ssize_t n = recv(f.from, buffer, sizeof buffer, 0);
    if (n < 0) {
      if (errno != EAGAIN && errno != EINTR) l.dead = true;
      return;
    }
    if (n == 0) {
      f.ended = true;
      if (f.pending.empty()) l.dead = true;  // half-closed links are not wanted here: both ends go
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      taken_[d] += static_cast<std::uint64_t>(n);
    }
    if (d == to_server && !l.subscriber && bytes_hold(buffer, n, "SUBSCRIBE")) l.subscriber = true;
    const LinkFault& fault = fault_for(l, now.faults[d]);
    if (f.serial != now.serial[d]) {
      f.serial = now.serial[d];
      f.count = 0;
      f.filter = fault.kind == LinkFault::Kind::filter ? fault.make_filter() : nullptr;
    }
    std::string bytes(buffer, static_cast<std::size_t>(n));
    const std::uint64_t first = f.count;
    f.count += bytes.size();
    Time due = std::chrono::steady_clock::now();
    switch (fault.kind) {
      case LinkFault::Kind::pass:
      case LinkFault::Kind::stall: break;
      case LinkFault::Kind::dribble: count_met(); break;
      case LinkFault::Kind::blackhole: return count_met();
      case LinkFault::Kind::delay:
        if (bytes.find(fault.text) != std::string::npos) due += fault.time, count_met();
        break;
      case LinkFault::Kind::hold:
        if (bytes.find(fault.text) != std::string::npos || (!f.pending.empty() && f.pending.back().due == Time::max()))
          due = Time::max();
        break;
      case LinkFault::Kind::truncate:
        if (f.count < fault.bytes) break;
        count_met();
        bytes.resize(first < fault.bytes ? fault.bytes - first : 0);
        f.ended = true;
        if (bytes.empty() && f.pending.empty()) l.dead = true;
        break;
      case LinkFault::Kind::flip:
        if (first <= fault.bytes && fault.bytes < f.count) bytes[fault.bytes - first] ^= 1;
        break;
      case LinkFault::Kind::filter: bytes = f.filter(std::move(bytes)); break;
      case LinkFault::Kind::inject:
        if (injected_[d] != now.serial[d]) bytes = fault.text;
        injected_[d] = now.serial[d];
        break;
      case LinkFault::Kind::flip_in:
        if (const std::size_t at = bytes.find(fault.text); at != std::string::npos && at + fault.bytes < bytes.size())
          bytes[at + fault.bytes] ^= 1, count_met();
        break;
    }
    if (!bytes.empty()) f.pending.push_back({due, std::move(bytes)});
  }

  static void give(Link& l, std::uint8_t d, const LinkFault& fault) {
    Flow& f = l.flows[d];
    std::string& bytes = f.pending.front().bytes;
    const bool dribbles = fault.kind == LinkFault::Kind::dribble;
    const ssize_t n = send(f.to, bytes.data(), dribbles ? 1 : bytes.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN && errno != EINTR && errno != ENOTCONN) l.dead = true;
      return;
    }
    bytes.erase(0, static_cast<std::size_t>(n));
    if (dribbles) f.next_byte = std::chrono::steady_clock::now() + fault.time;
    if (bytes.empty()) f.pending.pop_front();
    if (f.pending.empty() && f.ended) l.dead = true;
  }

  static void close_link(Link& l, bool reset) {
    for (int* fd : {&l.client, &l.server}) {
      if (*fd < 0) continue;
      const linger now{1, 0};
      if (reset) setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
      close(*fd);
      *fd = -1;
    }
  }

  std::uint16_t port_ = 0;
  int listener_ = -1;
  int wake_ = -1;
  std::list<Link> links_;                    // the proxy thread's own
  std::array<std::uint64_t, 2> injected_{};  // likewise: the setting whose text has gone out
  mutable std::mutex mutex_;
  std::condition_variable adopted_changed_;
  Settings wanted_;  // from here on guarded by mutex_
  std::uint64_t adopted_ = 0;
  std::size_t open_ = 0;
  std::size_t accepted_ = 0;
  std::array<std::uint64_t, 2> taken_{};
  std::uint64_t met_ = 0;
  std::thread thread_;
};

}  // namespace tiercache::testing
