// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/ports.hpp>
#include <tiercache/base/result.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tiercache::detail {

inline constexpr std::size_t name_bytes_max = 64;
inline constexpr std::size_t id_bytes_max = 1024;

/// env, resource and view names: 1..64 of A-Za-z0-9._-. `field` is what the error calls it.
[[nodiscard]] Result<void> check_name(std::string_view field, std::string_view name);

/// At most 16 tags, each like a view's name.
[[nodiscard]] Result<void> check_tags(std::span<const std::string> tags);

/// Ids: 1..1024 bytes above 0x20, without 0x7F, '{' and '}'. The message never holds the id itself. Null: good. Static text.
[[nodiscard]] const char* id_fault(std::string_view id) noexcept;

/// A key as Redis sees it, with the shard it belongs to.
struct PhysicalKey {
  std::string text;
  ShardId shard = 0;
};

/// Builds and takes apart physical keys (docs/design.md, "Physical key"). Immutable, thread-safe.
class KeySpace {
 public:
  KeySpace(std::string_view env, std::string_view resource, std::uint32_t shards) : prefix_(), shards_(shards) {
    prefix_.append(env).append(":").append(resource).append(":");
  }

  /// REQUIRES: checked names and id.
  [[nodiscard]] PhysicalKey physical(std::string_view type, std::string_view id) const;

  /// The key's shard, without making the key: for the hit path. 0 for ids that are too long to exist. Wait-free, no allocation.
  [[nodiscard]] ShardId shard_of(std::string_view type, std::string_view id) const noexcept;

  struct Parts {
    std::string_view type;
    std::string_view id;
  };
  /// The inverse; nullopt for keys that are not of this space. The views point into `key`.
  [[nodiscard]] std::optional<Parts> parse(std::string_view key) const noexcept;

  /// Shards in use: at least 1.
  [[nodiscard]] std::uint32_t shard_count() const noexcept { return shards_ == 0 ? 1 : shards_; }
  [[nodiscard]] bool sharded() const noexcept { return shards_ != 0; }

 private:
  std::string prefix_;  // "env:resource:"
  std::uint32_t shards_;
};

}  // namespace tiercache::detail
