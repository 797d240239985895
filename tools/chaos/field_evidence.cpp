// SPDX-License-Identifier: Apache-2.0
//
// A fault counts as verified when something else than the code that brought it about has shown its effect: a number that Redis,
// the proxy or the instance itself counts, the state of a process in /proc, or Redis's answer to the command.
#include "evidence.hpp"

#include "clock.hpp"
#include "field.hpp"

#include <tiercache/base/hash.hpp>

#include <string>
#include <string_view>

namespace tiercache::chaos {
namespace {

/// Which run of which server this is.
std::uint64_t run_of(const std::string& info) {
  constexpr std::string_view name = "\nrun_id:";
  constexpr std::size_t id_size = 40;
  const std::size_t at = info.find(name);
  return at == std::string::npos ? 0 : local_hash(std::string_view(info).substr(at + name.size(), id_size), 0);
}

}  // namespace

std::string Field::redis_version() const {
  constexpr std::string_view name = "redis_version:";
  const std::string info = master().command({"INFO", "server"});
  const std::size_t at = info.find(name);
  return at == std::string::npos ? "unknown" : info.substr(at + name.size(), info.find_first_of("\r\n", at) - at - name.size());
}

std::uint64_t Field::evidence(const Fault& fault) const {
  switch (fault.kind) {
    case FaultKind::redis_kill_empty:
    case FaultKind::replica_promoted: return run_of(master().command({"INFO", "server"}));
    case FaultKind::out_of_memory: return info_number(master().command({"INFO", "errorstats"}), "errorstat_OOM");
    case FaultKind::script_flush: return info_number(master().command({"INFO", "errorstats"}), "errorstat_NOSCRIPT");
    case FaultKind::eviction: return info_number(master().command({"INFO", "stats"}), "evicted_keys");
    case FaultKind::blackhole_to_server:
    case FaultKind::blackhole_to_client:
    case FaultKind::blackhole_bus:
    case FaultKind::half_open:
    case FaultKind::links_reset:
    case FaultKind::delay:
    case FaultKind::late_answers:
    case FaultKind::late_writes:
    case FaultKind::dribble:
    case FaultKind::truncate:
    case FaultKind::flip: return proxy(fault).met();
    case FaultKind::loader_slow:
    case FaultKind::loader_throws:
    case FaultKind::loader_hangs: return block(fault).loads_met.load();
    default: return 0;
  }
}

void Field::look_during(Fault& fault, std::int64_t now) const {
  if (fault.kind == FaultKind::bus_link_cut && !block(fault).subscribed.load()) fault.verified = true;
  if (fault.kind == FaultKind::reader_stopped) look_at_reader(fault, now);
}

/// The others hear messages all the time; this one is to have heard none since shortly after the begin.
void Field::look_at_reader(Fault& fault, std::int64_t now) const {
  constexpr std::int64_t settled = 60 * demo::ns_per_ms;  // the instance looks at its switch, and shows its counts
  if (now < fault.began + settled) return;
  const auto blocks = board_->instances();
  const auto heard_by_all = [&] {
    std::uint64_t n = 0;
    for (const InstanceBlock& b : blocks) n += b.bus_messages.load();
    return n;
  };
  const std::uint64_t heard = block(fault).bus_messages.load();
  if (fault.phase == 0) {
    fault.phase = 1;
    fault.own_heard = heard;
    fault.all_heard = heard_by_all();
  }
  const bool others_hear = heard_by_all() - heard > fault.all_heard - fault.own_heard;
  fault.verified = heard == fault.own_heard && others_hear && now > fault.began + 2 * settled;
}

}  // namespace tiercache::chaos
