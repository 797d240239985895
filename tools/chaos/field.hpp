// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "board.hpp"
#include "children.hpp"
#include "random.hpp"

#include <redis_server.hpp>
#include <tcp_proxy.hpp>

#include <hiredis/hiredis.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tiercache::chaos {

/// A fault that is on.
struct Fault {
  FaultKind kind{};
  unsigned target = 0;  ///< of an instance's fault
  std::int64_t began = 0;
  std::int64_t ends = 0;
  unsigned phase = 0;
  std::int64_t next_step = 0;
  bool void_ = false;                          ///< it could not be brought about and does not count
  bool verified = false;                       ///< it was seen to have met what it was to meet: see field_evidence.cpp
  std::uint64_t mark = 0;                      ///< the evidence as it was before
  std::uint64_t own_heard = 0, all_heard = 0;  ///< of a bus reader that is held
};

/// What the faults act on: two Redis servers of which one is the master, the other a spare that becomes its replica and its
/// successor; a proxy for each instance, through which it finds the master of the moment; one between the two servers; and the
/// instances' processes. Everything here was started by this run and is ended by pid. One thread.
class Field {
 public:
  Field(unsigned instances, std::int64_t budget_ns, std::uint64_t seed);
  /// The instances are to be started after this, and on the same thread.
  void open(const Board& board);

  [[nodiscard]] std::uint16_t port_of(unsigned instance) const { return proxies_[instance]->port(); }
  [[nodiscard]] std::uint16_t master_port() const { return master().port(); }
  [[nodiscard]] std::string redis_version() const;
  [[nodiscard]] demo::Children& children() noexcept { return children_; }

  void begin(Fault& fault, std::int64_t now);
  /// Takes the fault's next step, if it is due. True: it is over and healed.
  [[nodiscard]] bool turn(Fault& fault, std::int64_t now);
  /// Whether Redis answers commands at once while `fault` is on.
  [[nodiscard]] static bool redis_answers(const Fault& fault) noexcept;
  /// Closes the time in which Redis is excused (Header::losses): every instance has noticed.
  void losses_noticed();
  [[nodiscard]] bool losing() const noexcept { return losing_; }

 private:
  struct FreeContext {
    void operator()(redisContext* c) const { redisFree(c); }
  };
  using Context = std::unique_ptr<redisContext, FreeContext>;

  [[nodiscard]] testing::RedisServer& master() const { return *servers_[master_]; }
  [[nodiscard]] testing::RedisServer& spare() const { return *servers_[1 - master_]; }
  [[nodiscard]] InstanceBlock& block(const Fault& fault) const { return board_->instances()[fault.target]; }
  [[nodiscard]] testing::TcpProxy& proxy(const Fault& fault) const { return *proxies_[fault.target]; }
  /// Between `from` and `to` budgets.
  [[nodiscard]] std::int64_t some(double from, double to);
  [[nodiscard]] std::chrono::milliseconds some_ms(double from, double to);

  /// A number that is another one when the fault has had its effect; 0: the fault's own steps verify it.
  [[nodiscard]] std::uint64_t evidence(const Fault& fault) const;
  void look_at_reader(Fault& fault, std::int64_t now) const;
  void look_during(Fault& fault, std::int64_t now) const;
  bool go_on(Fault& fault, std::int64_t now);
  void begin_redis(Fault& fault, std::int64_t now);
  void begin_instance(Fault& fault, std::int64_t now);
  void end(Fault& fault);
  bool turn_snapshot(Fault& fault, std::int64_t now);
  bool turn_promotion(Fault& fault, std::int64_t now);
  bool turn_output_buffer(Fault& fault, std::int64_t now);
  void lose();
  void evict();
  [[nodiscard]] std::uint64_t copy_foreign_values();
  [[nodiscard]] bool answered_ok();
  void follow_master();
  [[nodiscard]] bool replica_is_level() const;
  void promote_spare();
  void move_instances(unsigned from, unsigned step);
  void give_up_replica(Fault& fault);
  [[nodiscard]] std::uint64_t overflows() const;
  /// Sends without waiting for the answer.
  void send_only(const std::vector<std::string>& argv);

  const std::int64_t budget_;
  demo::Random random_;
  std::array<std::unique_ptr<testing::RedisServer>, 2> servers_;
  unsigned master_ = 0;
  std::vector<std::unique_ptr<testing::TcpProxy>> proxies_;
  std::unique_ptr<testing::TcpProxy> replication_;
  const Board* board_ = nullptr;
  bool losing_ = false;
  std::uint64_t overflows_before_ = 0;
  Context unanswered_;       // of send_only
  demo::Children children_;  // last: the instances end before what they use
};

}  // namespace tiercache::chaos
