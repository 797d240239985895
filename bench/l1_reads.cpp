// SPDX-License-Identifier: Apache-2.0
//
// Hits: all keys are in, nothing is evicted. The structures of one size are built once and asked in turn.
#include "floor.hpp"
#include "l1_rows.hpp"
#include "ours.hpp"
#include "peers.hpp"
#include "subject.hpp"

#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace tiercache::bench {
namespace {

/// One structure, ready to be asked.
struct Standing {
  std::function<double(const Streams&, int threads, double seconds, Access)> read;
  double overhead_bytes = 0;  ///< an entry, beside key and value
};

std::size_t malloc_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}
double overhead(std::size_t bytes, std::size_t entries) {
  return static_cast<double>(bytes) / static_cast<double>(entries) - static_cast<double>(payload_bytes);
}

template <class S>
Standing build(std::size_t keys) {
  const std::size_t before = malloc_bytes();
  // Room to spare for those that evict: their shards do not fill evenly.
  auto s = std::make_shared<S>(std::is_same_v<S, ShardedLru> ? keys * 2 : keys);
  for (std::size_t k = 0; k < keys; ++k) s->put(request_of(static_cast<std::uint32_t>(k)).key(), value_of(k));
  Standing standing;
  standing.overhead_bytes = overhead(malloc_bytes() - before, keys);
  standing.read = [s](const Streams& streams, int threads, double seconds, Access access) {
    return read_rate(streams, threads, seconds, access,
                     [&](const Request& r, auto&& f) { s->read(r.key(), [&](const Value& v) { f(r, v); }); });
  };
  return standing;
}

/// All structures of one size, each built when it is first needed.
class Size {
 public:
  Size(const Arguments& arguments, Report& report, std::string name, std::uint32_t keys, std::size_t length)
      : arguments_(arguments), report_(report), name_(std::move(name)), keys_(keys), length_(length) {
    makers_["floor"] = [keys] { return build<Floor>(keys); };
    const auto add = [&](auto tag, const char* peer) {
      makers_[peer] = [keys] {
        // Hash tables that never fill: HyperClockCache evicts from the start when its table has no room to spare.
        return build<typename decltype(tag)::type>(keys);
      };
    };
    for_each_map(add);
    for_each_cache(add);
  }

  Ours& ours() {
    if (!ours_.table) {
      ours_ = fill_ours(keys_, fitting_cost(std::min(keys_, 100'000U)));
    }
    return *ours_.table;
  }
  Floor& floor() {
    if (!floor_) {
      floor_ = std::make_unique<Floor>(keys_);
      for (std::uint32_t k = 0; k < keys_; ++k) floor_->put(request_of(k).key(), value_of(k));
    }
    return *floor_;
  }
  const Streams& streams(double theta) {
    Streams& s = streams_[theta];
    if (s.empty()) {
      static_cast<void>(ours());
      s = make_streams(ours_.present, theta, length_, 2);
    }
    return s;
  }
  Standing& peer(const std::string& name) {
    Standing& s = standing_[name];
    if (!s.read) s = makers_.at(name)();
    return s;
  }
  [[nodiscard]] std::vector<std::string> peers() const {
    std::vector<std::string> names;
    for (const auto& [name, make] : makers_) names.push_back(name);
    return names;
  }

  double read_ours(const Streams& s, int threads, Access access) {
    return read_rate(s, threads, arguments_.seconds, access,
                     [this](const Request& r, auto&& f) { ours_.table->read(r.key(), [&](const Value& v) { f(r, v); }); });
  }

  /// A row with all peers, or those named; together, or (at sizes where they would not fit) one after the other beside ours.
  void get_row(const std::string& row, double theta, int threads, Access access, std::vector<std::string> names, bool together) {
    if (!arguments_.wants(row)) return;
    attempt(report_, row, [&] {
      static_cast<void>(ours());
      const Streams& s = streams(theta);
      const Contender own{"ours", [&] { return read_ours(s, threads, access); }};
      std::vector<Contender> all{own};
      for (const std::string& name : names) {
        if (makers_.count(name) == 0) continue;
        all.push_back(
            {name, [this, &s, threads, access, name] { return peer(name).read(s, threads, arguments_.seconds, access); }});
        static_cast<void>(peer(name));
        if (together) continue;
        compare(row, threads, theta, interleave(all, arguments_.rounds));
        standing_.erase(name);
        all.resize(1);
      }
      if (together) compare(row, threads, theta, last_ = interleave(all, arguments_.rounds));
    });
  }

  /// The floor is honest, and the maps are as fast as they should be, when these ratios are as elsewhere.
  void check_row(const std::string& row, const std::string& of, const std::string& peer) {
    if (!arguments_.wants(row) || last_.count(of) == 0 || last_.count(peer) == 0) return;
    Samples two{{of, last_.at(of)}, {peer, last_.at(peer)}};
    report_.compare({.name = row, .unit = "Mops/s", .threads = 2, .workload = "zipf 0.99, " + name_}, two, of, Better::higher,
                    1e-6);
  }

  void visit_row(const std::string& row) {
    if (!arguments_.wants(row)) return;
    attempt(report_, row, [&] {
      static_cast<void>(ours());
      const Streams& s = streams(0.99);
      static_cast<void>(peer("floor"));
      compare(row, 1, 0.99,
              interleave({{"ours",
                           [&] {
                             return read_rate(s, 1, arguments_.seconds, Access::in_place, [this](const Request& r, auto&& f) {
                               ours_.table->visit(r.key(), [&](const Value& v) { f(r, v); });
                             });
                           }},
                          {"floor", [&] { return peer("floor").read(s, 1, arguments_.seconds, Access::in_place); }}},
                         arguments_.rounds));
    });
  }

  void batch_row(const std::string& row) {
    if (!arguments_.wants(row)) return;
    attempt(report_, row, [&] {
      static_cast<void>(ours());
      static_cast<void>(floor());
      const Streams& s = streams(0.99);
      constexpr std::size_t batch = 16;
      const auto batches = [&](auto& structure) {
        return batch_rate<batch>(s, 2, arguments_.seconds,
                                 [&](const Request* requests, auto&& f) { structure.template read_batch<batch>(requests, f); });
      };
      compare(row, 2, 0.99,
              interleave({{"ours", [&] { return batches(*ours_.table); }},
                          {"floor_batch", [&] { return batches(*floor_); }},
                          {"l1_get", [&] { return read_ours(s, 2, Access::in_place); }}},
                         arguments_.rounds));
      floor_.reset();
    });
  }

  void hot_row(const std::string& row) {
    if (!arguments_.wants(row)) return;
    attempt(report_, row, [&] {
      static_cast<void>(ours());
      const Streams one{{request_of(ours_.present.front())}};
      compare(row, 2, -1,
              interleave({{"ours", [&] { return read_ours(one, 2, Access::in_place); }},
                          {"l1_1t", [&] { return read_ours(one, 1, Access::in_place); }}},
                         arguments_.rounds));
    });
  }

  void bytes_row(const std::string& row) {
    if (!arguments_.wants(row)) return;
    attempt(report_, row, [&] {
      const L1Stats stats = ours().stats();
      const double own = overhead(stats.used_bytes, stats.entries);
      for (const std::string& name : peers()) {
        const double theirs = peer(name).overhead_bytes;
        report_.add({.name = row,
                     .value = own,
                     .unit = "bytes",
                     .peer = name,
                     .peer_value = theirs,
                     .ratio = theirs / own,
                     .workload = name_ + ", key 20, value 128"});
      }
    });
  }

 private:
  void compare(const std::string& row, int threads, double theta, const Samples& samples) {
    const std::string order = theta < 0 ? "one key" : theta == 0 ? "uniform, " + name_ : "zipf 0.99, " + name_;
    report_.compare({.name = row, .unit = "Mops/s", .threads = threads, .workload = order}, samples, "ours", Better::higher,
                    1e-6);
  }

  const Arguments& arguments_;
  Report& report_;
  std::string name_;
  std::uint32_t keys_;
  std::size_t length_;
  Filled ours_;
  std::unique_ptr<Floor> floor_;
  std::map<double, Streams> streams_;
  std::map<std::string, std::function<Standing()>> makers_;
  std::map<std::string, Standing> standing_;
  Samples last_;
};

}  // namespace

void read_rows(const Arguments& arguments, Report& report) {
  {
    Size s(arguments, report, "10k", 10'000, std::size_t{1} << 16);
    for (const int threads : {1, 2})
      s.get_row("l1.get.zipf.10k." + std::to_string(threads) + "t", 0.99, threads, Access::in_place, s.peers(), true);
    s.visit_row("l1.visit.zipf.10k.1t");
    s.hot_row("l1.get.hot1.2t");
  }
  {
    Size s(arguments, report, "1M", 1'000'000, std::size_t{1} << 20);
    s.bytes_row("l1.overhead_bytes");
    s.get_row("l1.get.zipf.1M.1t", 0.99, 1, Access::in_place, s.peers(), true);
    s.get_row("l1.get.zipf.1M.2t", 0.99, 2, Access::in_place, s.peers(), true);
    s.check_row("floor.check.floor_boost", "floor", "boost");
    s.check_row("floor.check.boost_libcuckoo", "boost", "libcuckoo");
    s.get_row("l1.get.uniform.1M.2t", 0, 2, Access::in_place, s.peers(), true);
    s.get_row("l1.get_copy.zipf.1M.2t", 0.99, 2, Access::copied, s.peers(), true);
    s.batch_row("l1.get_many16.zipf.1M.2t");
  }
  {
    Size s(arguments, report, "10M", 10'000'000, std::size_t{1} << 22);
    s.get_row("l1.get.zipf.10M.2t", 0.99, 2, Access::in_place, {"floor", "boost"}, false);
  }
}

}  // namespace tiercache::bench
