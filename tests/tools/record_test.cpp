// SPDX-License-Identifier: Apache-2.0
#include "record.hpp"

#include "temp_folder.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace tiercache::demo {
namespace {

TEST(Record, HoldsVersionOneAndTheSizeOfEveryRow) {
  const TestFolder folder;
  ASSERT_TRUE(Record::create(folder.file("r.db"), 100, [](std::uint32_t id) { return 1000 + id; }).ok());
  Result<Record> record = Record::open(folder.file("r.db"));
  ASSERT_TRUE(record.ok());
  for (const std::uint32_t id : {0U, 57U, 99U}) {
    const Result<Record::Fields> row = record->find(id);
    ASSERT_TRUE(row.ok());
    EXPECT_EQ(row.value().version, 1U);
    EXPECT_EQ(row.value().size, 1000 + id);
  }
  EXPECT_FALSE(record->find(100).ok());
  EXPECT_FALSE(record->increment(100).ok());
}

TEST(Record, AFileThatIsNotThereIsAnErrorThatNamesIt) {
  const Result<Record> record = Record::open("/nonexistent/r.db");
  ASSERT_FALSE(record.ok());
  EXPECT_NE(record.error().message.find("/nonexistent/r.db"), std::string::npos);
}

TEST(Record, WritersOfOneRowAreServedOneAfterTheOtherAndReadersSeeWhatCommitted) {
  const TestFolder folder;
  const std::string path = folder.file("r.db");
  ASSERT_TRUE(Record::create(path, 10, [](std::uint32_t) { return 100U; }).ok());
  constexpr int writers = 4;
  constexpr int writes = 200;
  std::vector<std::set<std::uint64_t>> versions(writers);
  std::atomic<int> writing{writers};
  {
    std::vector<std::jthread> threads;
    for (int w = 0; w < writers; ++w) {
      threads.emplace_back([&, w] {
        Result<Record> record = Record::open(path);
        ASSERT_TRUE(record.ok());
        for (int i = 0; i < writes; ++i) {
          const Result<Record::Fields> row = record->increment(3);
          ASSERT_TRUE(row.ok()) << row.error().message;
          versions[static_cast<std::size_t>(w)].insert(row.value().version);
          EXPECT_GE(record->find(3).value().version, row.value().version);
        }
        --writing;
      });
    }
    threads.emplace_back([&] {
      Result<Record> record = Record::open(path);
      ASSERT_TRUE(record.ok());
      for (std::uint64_t last = 0; writing > 0;) {
        const Result<Record::Fields> row = record->find(3);
        ASSERT_TRUE(row.ok()) << row.error().message;
        EXPECT_GE(row.value().version, last);
        last = row.value().version;
      }
    });
  }
  std::set<std::uint64_t> all;
  for (const auto& v : versions) all.insert(v.begin(), v.end());
  EXPECT_EQ(all.size(), std::size_t{writers * writes}) << "no version twice";
  EXPECT_EQ(*all.begin(), 2U);
  EXPECT_EQ(*all.rbegin(), std::uint64_t{writers * writes + 1});
}

}  // namespace
}  // namespace tiercache::demo
