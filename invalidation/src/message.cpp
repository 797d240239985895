// SPDX-License-Identifier: Apache-2.0
#include <tiercache/invalidation/message.hpp>

#include <algorithm>
#include <cassert>
#include <vector>

namespace tiercache::invalidation {
namespace {

constexpr std::string_view magic = "TCB";
constexpr std::uint64_t format = 1;
constexpr std::uint64_t flag_hurry = 2;

Parsed malformed(std::string_view problem) noexcept { return {ParseStatus::malformed, problem, {}, {}}; }
Parsed unsupported(std::string_view problem) noexcept { return {ParseStatus::unsupported, problem, {}, {}}; }

bool key_byte(char c) noexcept {
  const auto b = static_cast<unsigned char>(c);
  return b > 0x20 && b != 0x7f;
}

bool name_byte(char c) noexcept {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/// Empty when `items` are exactly `count` good items; else the problem.
std::string_view check_items(Kind kind, std::string_view items, std::uint64_t count) noexcept {
  const bool clear = kind == Kind::clear;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (items.size() < item_head_bytes) return "item: cut off in its head";
    const auto length = static_cast<std::size_t>(load_be<2>(items.data()));
    const std::uint64_t version = load_be<8>(items.data() + 2);
    if (length == 0) return "item length: zero";
    if (length > (clear ? type_bytes_max : key_bytes_max)) return clear ? "item length: above 64" : "item length: above 2048";
    if (clear && version != 0) return "item version: a clear has none";
    if (kind == Kind::wake && version != 0) return "item version: a wake has none";
    items.remove_prefix(item_head_bytes);
    if (items.size() < length) return "item: cut off in its name";
    if (!std::ranges::all_of(items.substr(0, length), clear ? name_byte : key_byte)) {
      return clear ? "item name: not a view's name" : "item key: a forbidden byte";
    }
    items.remove_prefix(length);
  }
  return items.empty() ? std::string_view{} : "count: bytes follow the last item";
}

}  // namespace

Parsed parse(std::string_view bytes) noexcept {
  if (bytes.size() > message_bytes_max) return malformed("message: above 1 MiB");
  if (bytes.size() < message_head_bytes) {
    return malformed(bytes.starts_with(magic) ? "head: cut off" : "magic: not TCB");
  }
  if (!bytes.starts_with(magic)) return malformed("magic: not TCB");
  const char* p = bytes.data();
  // A newer release may mean anything by what follows, so these come before every other check.
  if (load_be<1>(p + 3) != format) return unsupported("format: not 1");
  const std::uint64_t kind = load_be<1>(p + 4);
  if (kind < 1 || kind > 5) return unsupported("kind: unknown");
  const std::uint64_t flags = load_be<1>(p + 5);
  if ((flags & ~flag_hurry) != 0) return unsupported("flags: an unknown bit");

  Head head;
  head.kind = static_cast<Kind>(kind);
  head.hurry = (flags & flag_hurry) != 0;
  head.shard = static_cast<ShardId>(load_be<2>(p + 6));
  head.epoch = load_be<8>(p + 8);
  head.sequence = load_be<8>(p + 16);
  head.origin = load_be<8>(p + 24);
  head.number = load_be<8>(p + 32);
  const auto count = static_cast<std::uint16_t>(load_be<2>(p + 40));

  if (head.sequence > sequence_max) return malformed("sequence: above 2^63 - 1");
  switch (head.kind) {
    case Kind::invalidate:
      if (count < 1 || count > items_max) return malformed("count: an invalidate has 1 to 1024 items");
      break;
    case Kind::heartbeat:
      if (count != 0) return malformed("count: a heartbeat has no items");
      break;
    case Kind::clear:
      if (count != 1) return malformed("count: a clear has one item");
      break;
    case Kind::wake:
      if (count < 1 || count > items_max) return malformed("count: a wake has 1 to 1024 items");
      // A hint has no place in the order of the invalidations: numbered, it would be taken for one of them.
      if (head.sequence != 0) return malformed("sequence: a wake has none");
      break;
    case Kind::clear_all:
      if (count != 0) return malformed("count: a clear of everything has no items");
      break;
  }
  const std::string_view items = bytes.substr(message_head_bytes);
  if (const std::string_view problem = check_items(head.kind, items, count); !problem.empty()) return malformed(problem);
  return {ParseStatus::ok, {}, head, ItemRange(items, count)};
}

std::string encode(const Head& head, std::span<const Item> items) {
  assert(items.size() <= 0xffff);
  std::string out(magic);
  append_be<1>(out, format);
  append_be<1>(out, static_cast<std::uint64_t>(head.kind));
  append_be<1>(out, head.hurry ? flag_hurry : 0);
  append_be<2>(out, head.shard);
  append_be<8>(out, head.epoch);
  append_be<8>(out, head.sequence);
  append_be<8>(out, head.origin);
  append_be<8>(out, head.number);
  append_be<2>(out, items.size());
  for (const Item& item : items) {
    assert(item.name.size() <= 0xffff);
    append_be<2>(out, item.name.size());
    append_be<8>(out, item.version);
    out.append(item.name);
  }
  return out;
}

std::string encode(const Parsed& parsed) {
  std::vector<Item> items;
  items.reserve(parsed.items.size());
  for (const Item item : parsed.items) items.push_back(item);
  return encode(parsed.head, items);
}

}  // namespace tiercache::invalidation
