// SPDX-License-Identifier: Apache-2.0
//
// Whatever is on the channel: parse() neither crashes nor reads beyond, and what it takes it takes whole.
#include <tiercache/invalidation/message.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace inv = tiercache::invalidation;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const inv::Parsed parsed = inv::parse(bytes);
  if (parsed.status != inv::ParseStatus::ok) {
    if (parsed.problem.empty()) std::abort();
    return 0;
  }
  if (inv::encode(parsed) != bytes) std::abort();
  return 0;
}
