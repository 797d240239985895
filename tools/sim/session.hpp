// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "world.hpp"

#include <string>
#include <utility>
#include <vector>

namespace tiercache::sim {

/// What one process of an instance has.
struct Shop {
  Shop(Store&& s, Cache<Cell> r, std::size_t count) : store(std::move(s)), rows(std::move(r)), answered(count) {}
  Store store;
  Cache<Cell> rows;
  std::vector<std::uint32_t> answered;  ///< the highest version of each row that a write of this process was answered for
};

/// One thread's calls. Writes are finished: what was not answered is repeated until it is.
struct Session {
  World& world;
  World::Instance& instance;
  Shop& shop;
  unsigned index;
  Random random;

  void run();
  void finish(std::uint32_t row, std::uint32_t version, bool tried);

 private:
  struct Before {
    Nanos began = 0;
    std::vector<std::uint32_t> own{};
  };
  void read(std::uint32_t row);
  void read_many();
  void write(std::uint32_t row);
  void write_many();
  void update(std::uint32_t row);
  void clear();
  std::optional<Errc> tell(std::uint32_t row, std::uint32_t version, bool tried);
  void acknowledge(std::uint32_t row, std::uint32_t version);
  Loaded<Cell> load(std::uint32_t row);
  void take(std::uint32_t row, const Handle<Cell>& cell, Reading reading, bool audits = false);
  void sleep(Nanos time);
  friend class World;
};

}  // namespace tiercache::sim
