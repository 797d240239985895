// SPDX-License-Identifier: Apache-2.0
#include "envelope.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>

namespace tiercache::detail {
namespace {

constexpr std::string_view magic = "TCE";
constexpr std::uint8_t format = 1;
constexpr std::size_t checked_bytes = 44;
constexpr std::int64_t duration_max = (std::int64_t{1} << 48) - 1;

std::uint64_t clamp48(std::int64_t ms) { return static_cast<std::uint64_t>(ms < 0 ? 0 : ms > duration_max ? duration_max : ms); }

}  // namespace

std::string seal(const Envelope& envelope, std::string_view physical_key, std::string_view payload) {
  std::string head;
  head.reserve(envelope_head_bytes);
  head.append(magic);
  append_be<1>(head, format);
  append_be<2>(head, envelope.schema);
  append_be<1>(head, envelope.codec);
  append_be<1>(head, envelope.flags);
  append_be<8>(head, envelope.version);
  const WireHash hash = wire_hash(physical_key);
  append_be<8>(head, hash.high);
  append_be<8>(head, hash.low);
  append_be<6>(head, clamp48(envelope.hard_ttl_ms));
  append_be<6>(head, clamp48(envelope.soft_lead_ms));
  append_be<4>(head, checksum32(head, payload));
  return head;
}

Verdict open_envelope(std::string_view bytes, std::string_view physical_key, std::uint16_t schema, std::uint8_t codec,
                      Envelope& out) noexcept {
  if (bytes.size() < 8 || !bytes.starts_with(magic)) return Verdict::foreign;
  const char* p = bytes.data();
  if (load_be<1>(p + 3) != format) return Verdict::foreign;
  // Not verified: of two versions the scripts keep the newer in place, which the checksum does not follow, and there is nothing
  // in it that anyone could be given. A flag that stands before a payload is not one of ours.
  if (load_be<1>(p + 7) == envelope_tombstone && bytes.size() == envelope_bytes) return Verdict::tombstone;
  if (load_be<1>(p + 7) != 0) return Verdict::foreign;
  out.schema = static_cast<std::uint16_t>(load_be<2>(p + 4));
  out.codec = static_cast<std::uint8_t>(load_be<1>(p + 6));
  if (out.schema > schema) return Verdict::foreign;
  if (bytes.size() < envelope_bytes) return Verdict::poison;
  out.version = load_be<8>(p + 8);
  out.hard_ttl_ms = static_cast<std::int64_t>(load_be<6>(p + 32));
  out.soft_lead_ms = static_cast<std::int64_t>(load_be<6>(p + 38));
  out.epoch = load_be<8>(p + 48);
  out.payload = bytes.substr(envelope_bytes);
  if (!lab::ablated(lab::Remedy::envelope_check)) {
    if (load_be<4>(p + 44) != checksum32(bytes.substr(0, checked_bytes), out.payload)) return Verdict::poison;
    const WireHash hash = wire_hash(physical_key);
    if (load_be<8>(p + 16) != hash.high || load_be<8>(p + 24) != hash.low) return Verdict::poison;
  }
  if (out.schema < schema) return Verdict::poison;
  return out.codec == codec ? Verdict::good : Verdict::foreign;
}

}  // namespace tiercache::detail
