// SPDX-License-Identifier: Apache-2.0
//
// One world: instances of the product, servers, links, faults, and sessions that call the product and have its answers judged.
#pragma once

#include "net.hpp"
#include "oracle.hpp"
#include "plan.hpp"
#include "servers.hpp"

#include <tiercache/tiercache.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tiercache::sim {

struct Outcome {
  bool ended = false;                     ///< false: it turned in circles, or did not come to rest
  std::vector<std::string> violations{};  ///< each with its instant
  std::uint64_t hash = 0;
  std::uint64_t events = 0, reads = 0, by_l1 = 0, within = 0, excused = 0, writes = 0, commands = 0, faults = 0;
};

class World {
 public:
  World(std::uint64_t seed, const Ablation* ablation, Lua& lua, bool trace);
  Outcome run();

 private:
  /// A host: what stays when its process dies.
  struct Instance {
    unsigned number = 0;
    Link data, bus;
    std::unique_ptr<Process> process;
    struct Shop* shop = nullptr;  ///< what the process has; never freed: it may die anywhere
    std::vector<std::pair<std::uint32_t, std::uint32_t>> unfinished{};  ///< writes that a dead process had begun: row, version
    bool slow_loads = false, failing_loads = false;
    unsigned running = 0;  ///< sessions of the present process
  };
  friend struct Session;

  void start_instance(Instance& instance);
  void crash(Instance& instance);
  void next_fault();
  void begin(Fault fault);
  void begin_server(Fault fault);
  void begin_instance(Fault fault, Instance& instance);
  void replace_master(bool old_answers);
  void evict_some();
  void heal();
  void audit();
  void pass_point(lab::Point point, std::string_view key);
  void violate(std::string what);
  [[nodiscard]] unsigned running() const;
  [[nodiscard]] Nanos some(double low, double high);  ///< of a budget
  [[nodiscard]] Config config_of(const Instance& instance) const;
  [[nodiscard]] std::string key_of(std::uint32_t row) const { return "k" + std::to_string(row); }
  [[nodiscard]] std::optional<std::uint32_t> row_of(std::string_view physical) const;

  const Plan plan_;
  Scheduler scheduler_;
  Random random_;
  Oracle oracle_;
  Servers servers_;
  Network network_;
  std::vector<std::unique_ptr<Instance>> instances_;
  std::vector<std::unique_ptr<Process>> dead_;
  unsigned master_ = 0;
  bool replacing_ = false;  ///< a master goes and another comes
  Nanos torn_until_ = 0;    ///< two masters up to then
  bool quiet_ = false;      ///< sessions end, faults are over
  Outcome outcome_;
  struct Token {
    WriteToken token;
    std::uint32_t version = 0;
  };
  std::vector<Token> tokens_;  ///< the last one of each row
};

}  // namespace tiercache::sim
