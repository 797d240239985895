// SPDX-License-Identifier: Apache-2.0
#include "value.hpp"

#include "envelope.hpp"

#include <tiercache/base/lab.hpp>

#include <algorithm>

namespace tiercache::detail {

#ifdef TIERCACHE_LAB
namespace {
std::int64_t careless_wall_clock_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count() + lab::wall_clock_skew_ms;
}
}  // namespace
#endif

Opened open_value(StoreCore& core, ViewState& view, const PhysicalKey& key, const RemoteValue& bytes, Fetched& out) {
  Envelope envelope;
  const Verdict verdict = open_envelope(bytes.bytes, key.text, view.options.schema, view.ops->codec_id, envelope);
  if (verdict == Verdict::tombstone) return Opened::absent;
  const auto complain = [&](const char* what) {
    if (core.bad_bytes_line())
      core.log(LogLevel::warn, "view " + view.name + ": a value in Redis " + what + "; served as a miss");
  };
  if (verdict == Verdict::foreign) {
    view.foreign_values.fetch_add(1, std::memory_order_relaxed);
    complain("is not ours or newer than this build; left alone");
    return Opened::foreign;
  }
  if (verdict == Verdict::good) {
    if (core.config.distrust_other_epochs && !lab::ablated(lab::Remedy::epoch_distrust)) {
      // Calls may reach a restarted server, or a promoted replica, before the bus does, and L1 may still be valid then. Until
      // the bus hears from that very server the epoch known here says nothing about what it holds.
      const bool heard = bytes.server == core.bus_server.load(std::memory_order_acquire);  // (1) pairs with (4) of store_core.cpp
      if (!heard && !lab::ablated(lab::Remedy::server_distrust)) return Opened::foreign;
      const std::uint64_t epoch = core.coherence.epoch(key.shard);
      // Not known yet: nothing says that the value is old, nothing that it is not. It is left alone, and not believed.
      if (epoch == 0) return Opened::foreign;
      if (envelope.epoch != epoch) return Opened::unusable;
    }
    try {
      out.value = view.ops->decode(envelope.payload);
    } catch (...) {  // a codec's throw means: does not decode
      out.value = nullptr;
    }
  }
  if (!out.value) {
    view.bad_envelopes.fetch_add(1, std::memory_order_relaxed);
    core.errors.count(Errc::bad_data);
    complain(verdict == Verdict::good ? "does not decode" : "does not verify or has an older schema");
    // Bytes that verify but do not decode may be another build's mistake or ours: they are overwritten under a lease, not
    // deleted.
    return verdict == Verdict::good ? Opened::unusable : Opened::poison;
  }
  out.version = envelope.version;
  out.server = bytes.server;
  out.ttl_ms = bytes.ttl_ms;
  if (envelope.hard_ttl_ms > 0)
    out.ttl_ms = bytes.ttl_ms < 0 ? envelope.hard_ttl_ms : std::min(bytes.ttl_ms, envelope.hard_ttl_ms);
#ifdef TIERCACHE_LAB
  if (lab::ablated(lab::Remedy::durations) && envelope.hard_ttl_ms > 0) {
    out.ttl_ms = envelope.hard_ttl_ms - careless_wall_clock_ms();
    if (out.ttl_ms <= 0) return Opened::unusable;
  }
#endif
  out.soft_lead_ms = envelope.soft_lead_ms;
  return Opened::good;
}

Sealed seal_value(const StoreCore& core, const ViewState& view, const PhysicalKey& key, const void* value, std::uint64_t version,
                  std::chrono::milliseconds ttl) {
  Sealed sealed;
  try {
    view.ops->encode(value, sealed.payload);
  } catch (const std::exception& e) {
    sealed.error = Error{Errc::bad_data, "view " + view.name + ": the codec threw: " + e.what()};
    return sealed;
  } catch (...) {
    sealed.error = Error{Errc::bad_data, "view " + view.name + ": the codec threw"};
    return sealed;
  }
  if (sealed.payload.size() > core.config.max_value_bytes) {
    sealed.error =
        Error{Errc::too_large, "view " + view.name + ": the encoded value has " + std::to_string(sealed.payload.size()) +
                                   " bytes, max_value_bytes is " + std::to_string(core.config.max_value_bytes)};
    return sealed;
  }
  Envelope envelope;
  envelope.schema = view.options.schema;
  envelope.codec = view.ops->codec_id;
  envelope.version = version;
  envelope.hard_ttl_ms = ttl.count();
#ifdef TIERCACHE_LAB
  if (lab::ablated(lab::Remedy::durations)) envelope.hard_ttl_ms += careless_wall_clock_ms();
#endif
  const auto soft = view.options.soft_ttl;
  envelope.soft_lead_ms = soft.count() > 0 && (ttl.count() == 0 || soft < ttl) ? (ttl - soft).count() : 0;
  sealed.head = seal(envelope, key.text, sealed.payload);
  return sealed;
}

}  // namespace tiercache::detail
