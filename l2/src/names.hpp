// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/ports.hpp>
#include <tiercache/l2/client.hpp>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::l2 {

/// The keys and the channel that belong to one shard (docs/design.md, "Physical key"). All of them bear the shard's slot tag, so
/// that a script and what it touches stay in one slot.
struct ShardNames {
  std::string seq;
  std::string epoch;
  std::string run;
  std::string beat;  ///< this origin's heartbeat
  std::string channel;
  std::string tag;      ///< "{07}:" before an id, empty standalone
  std::string log;      ///< the stream of the last announcements
  std::string members;  ///< who may answer from L1
};

class Names {
 public:
  Names(const Naming& naming, std::uint32_t shards)
      : prefix_(naming.env + ":" + naming.resource + ":"), shards_(shards), origin_(hex(naming.origin, 16)) {
    for (std::uint32_t shard = 0; shard < std::max(1U, shards); ++shard) made_.push_back(of(static_cast<ShardId>(shard)));
  }

  [[nodiscard]] bool knows(ShardId shard) const noexcept { return shards_ == 0 ? shard == 0 : shard < shards_; }
  /// REQUIRES: knows(shard).
  [[nodiscard]] ShardNames of(ShardId shard) const {
    std::string end;  // ":{07}"
    if (shards_ != 0) end.append(":{").append(hex(shard, 2)).append("}");
    std::string tag = end.empty() ? end : end.substr(1).append(":");
    return {prefix_ + "!seq" + end, prefix_ + "!epoch" + end, prefix_ + "!run" + end, prefix_ + "!hb" + end + ":" + origin_,
            prefix_ + "!bus" + end, std::move(tag),           prefix_ + "!log" + end, prefix_ + "!members" + end};
  }
  /// The same, made once. REQUIRES: knows(shard).
  [[nodiscard]] const ShardNames& at(ShardId shard) const { return made_[shard]; }
  /// env:resource:type:[{tag}:]id -> env:resource:!lease:[{tag}:]type:id; nothing: `key` is not one of this store and shard.
  [[nodiscard]] std::optional<std::string> lease_of(std::string_view key, const ShardNames& names) const {
    if (!key.starts_with(prefix_)) return std::nullopt;
    key.remove_prefix(prefix_.size());
    const auto colon = key.find(':');
    if (colon == key.npos || colon == 0 || key[0] == '!') return std::nullopt;
    const std::string_view type = key.substr(0, colon + 1);
    key.remove_prefix(colon + 1);
    if (!key.starts_with(names.tag) || key.size() == names.tag.size()) return std::nullopt;
    std::string lease;
    lease.reserve(prefix_.size() + 7 + names.tag.size() + type.size() + key.size());
    return lease.append(prefix_).append("!lease:").append(names.tag).append(type).append(key.substr(names.tag.size()));
  }
  /// The gate of the key whose lease is `lease`.
  [[nodiscard]] std::string gate_of(std::string lease) const { return lease.replace(prefix_.size(), 7, "!gate:"); }
  /// What every data key, and every lease key, of a view begins with in a shard.
  [[nodiscard]] std::string data_prefix(std::string_view type, const ShardNames& names) const {
    return prefix_ + std::string(type) + ":" + names.tag;
  }
  [[nodiscard]] std::string lease_prefix(std::string_view type, const ShardNames& names) const {
    return prefix_ + "!lease:" + names.tag + std::string(type) + ":";
  }
  /// The keys that bear a tag of a view, and when the tag was last erased.
  [[nodiscard]] std::string tag_set(std::string_view type, std::string_view tag, const ShardNames& names) const {
    return prefix_ + "!tag:" + names.tag + std::string(type) + ":" + std::string(tag);
  }
  [[nodiscard]] std::string tag_at(std::string_view type, std::string_view tag, const ShardNames& names) const {
    return prefix_ + "!tagat:" + names.tag + std::string(type) + ":" + std::string(tag);
  }
  /// The type of a data key of this store. REQUIRES: lease_of() knows the key.
  [[nodiscard]] std::string_view type_of(std::string_view key) const {
    key.remove_prefix(prefix_.size());
    return key.substr(0, key.find(':'));
  }
  [[nodiscard]] const std::string& origin() const noexcept { return origin_; }
  /// What every key of this store begins with.
  [[nodiscard]] const std::string& prefix() const noexcept { return prefix_; }
  /// The heartbeat's key of another instance, named as it stands among the members.
  [[nodiscard]] std::string beat_of(std::string_view origin, const ShardNames& names) const {
    return names.beat.substr(0, names.beat.size() - origin_.size()) + std::string(origin);
  }

 private:
  static std::string hex(std::uint64_t value, int width) {
    char text[24];
    std::snprintf(text, sizeof text, "%0*llx", width, static_cast<unsigned long long>(value));
    return text;
  }

  std::string prefix_;
  std::uint32_t shards_;
  std::string origin_;
  std::vector<ShardNames> made_;  ///< by shard
};

}  // namespace tiercache::l2
