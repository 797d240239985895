// SPDX-License-Identifier: Apache-2.0
#include "board.hpp"

#include "clock.hpp"

#include <cstdio>
#include <memory>
#include <new>

namespace tiercache::chaos {
namespace {

// 16 million chunks are 2 GB of address space: 2 * 10^8 writes. Only what is used takes memory.
constexpr std::uint64_t chunk_count = 1U << 24;

}  // namespace

Result<Board> Board::create(const Settings& settings) {
  demo::Places places;
  const std::uint64_t rows = std::uint64_t{settings.keys} + settings.probes;
  const std::uint64_t sessions = settings.instances * (settings.threads + (settings.probes != 0 ? probe_sessions : 0));
  places.take(sizeof(Header));
  const std::uint64_t instances_at = places.take(settings.instances * sizeof(InstanceBlock));
  const std::uint64_t sessions_at = places.take(sessions * sizeof(SessionSlot));
  const std::uint64_t rows_at = places.take(rows * sizeof(RowState));
  const std::uint64_t chunks_at = places.take(chunk_count * sizeof(demo::AckChunk));
  Result<demo::MemoryFile> memory = demo::MemoryFile::create("tiercache-chaos", places.bytes());
  if (!memory) return memory.error();
  Board board(std::move(*memory));
  Header& header = *new (board.memory_.base()) Header;
  header.settings = settings;
  header.bytes = places.bytes();
  header.instances_at = instances_at;
  header.sessions_at = sessions_at;
  header.rows_at = rows_at;
  header.chunks_at = chunks_at;
  std::uninitialized_default_construct_n(board.memory_.at<InstanceBlock>(instances_at), settings.instances);
  std::uninitialized_default_construct_n(board.memory_.at<SessionSlot>(sessions_at), sessions);
  std::uninitialized_default_construct_n(board.memory_.at<RowState>(rows_at), rows);
  return board;
}

Result<Board> Board::attach(int fd) {
  Result<demo::MemoryFile> memory = demo::MemoryFile::attach(fd, sizeof(Header));
  if (!memory) return memory.error();
  return Board(std::move(*memory));
}

void fail_run(const Board& board, std::string_view why) {
  if (!board.header().failed.exchange(true))
    std::fprintf(stderr, "tiercache_chaos: %.*s\n", static_cast<int>(why.size()), why.data());
}

void report_violation(const Board& board, const RowState& row, const Reading& reading, Verdict verdict, std::int64_t staleness,
                      unsigned instance, unsigned session, std::uint8_t source) {
  const std::uint64_t n = board.header().violations.fetch_add(1, std::memory_order_relaxed);
  board.header().violations_by[static_cast<std::size_t>(verdict)].fetch_add(1, std::memory_order_relaxed);
  if (n >= violations_kept) return;
  Violation& v = board.header().kept[n];
  v.verdict = verdict;
  v.source = source;
  v.instance = static_cast<std::uint16_t>(instance);
  v.session = static_cast<std::uint16_t>(session);
  v.key = static_cast<std::uint32_t>(&row - board.rows().data());
  v.own = reading.own;
  v.version = reading.version;
  v.began = reading.began;
  v.staleness = staleness;
  v.seen_ns = demo::now_ns();
  v.complete.store(true, std::memory_order_release);
}

void report_copy(const Board& board, unsigned instance, std::uint32_t key, std::uint64_t version, bool whole,
                 std::uint8_t source) {
  const std::uint64_t n = board.header().copies.fetch_add(1, std::memory_order_relaxed);
  if (n >= copies_kept) return;
  WrongCopy& c = board.header().kept_copies[n];
  c.whole = whole;
  c.source = source;
  c.instance = static_cast<std::uint16_t>(instance);
  c.key = key;
  c.version = version;
  c.complete.store(true, std::memory_order_release);
}

}  // namespace tiercache::chaos
