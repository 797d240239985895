// SPDX-License-Identifier: Apache-2.0
#include "redis.hpp"

#include <sha1.hpp>

#include <lua.hpp>

#include <cstdio>
#include <unordered_map>

namespace tiercache::sim {

struct Lua::State {
  lua_State* lua = nullptr;
  std::unordered_map<std::string, int> compiled;  // by SHA-1, in the registry
  Redis* server = nullptr;                        // whose script runs
};

namespace {

void push(lua_State* l, const Answer& a) {
  switch (a.type) {
    case Answer::Type::nil: lua_pushboolean(l, 0); break;
    case Answer::Type::integer: lua_pushnumber(l, static_cast<lua_Number>(a.integer)); break;
    case Answer::Type::string: lua_pushlstring(l, a.text.data(), a.text.size()); break;
    case Answer::Type::status:
    case Answer::Type::error:
      lua_newtable(l);
      lua_pushlstring(l, a.text.data(), a.text.size());
      lua_setfield(l, -2, a.is_error() ? "err" : "ok");
      break;
    case Answer::Type::array:
      lua_newtable(l);
      for (std::size_t i = 0; i < a.elements.size(); ++i) {
        push(l, a.elements[i]);
        lua_rawseti(l, -2, static_cast<int>(i) + 1);
      }
      break;
  }
}

std::string text_at(lua_State* l, int i) {
  std::size_t size = 0;
  const char* const text = lua_tolstring(l, i, &size);
  return text != nullptr ? std::string(text, size) : std::string();
}

/// As Redis turns what a script returns into an answer.
Answer take(lua_State* l, int i) {
  switch (lua_type(l, i)) {
    case LUA_TSTRING: return Answer::string(text_at(l, i));
    case LUA_TBOOLEAN: return lua_toboolean(l, i) != 0 ? Answer::of(1) : Answer::none();
    case LUA_TNUMBER: return Answer::of(static_cast<std::int64_t>(lua_tonumber(l, i)));
    case LUA_TTABLE: break;
    default: return Answer::none();
  }
  if (i < 0) i = lua_gettop(l) + 1 + i;
  for (const char* kind : {"err", "ok"}) {
    lua_getfield(l, i, kind);
    const bool is = lua_type(l, -1) == LUA_TSTRING;
    std::string text = is ? text_at(l, -1) : std::string();
    lua_pop(l, 1);
    if (is) return *kind == 'e' ? Answer::error(std::move(text)) : Answer::status(std::move(text));
  }
  std::vector<Answer> all;
  for (int n = 1;; ++n) {
    lua_rawgeti(l, i, n);
    if (lua_isnil(l, -1)) break;
    all.push_back(take(l, -1));
    lua_pop(l, 1);
  }
  lua_pop(l, 1);
  return Answer::array(std::move(all));
}

Lua::State& state_of(lua_State* l) { return *static_cast<Lua::State*>(lua_touserdata(l, lua_upvalueindex(1))); }

// lua_error() leaves by longjmp: nothing with a destructor may be alive where it is called.
bool run_for(lua_State* l) {
  std::vector<std::string> argv;
  for (int i = 1; i <= lua_gettop(l); ++i) {
    if (lua_type(l, i) == LUA_TNUMBER) {
      char text[64];
      std::snprintf(text, sizeof text, "%.17g", lua_tonumber(l, i));
      argv.emplace_back(text);
    } else {
      argv.push_back(text_at(l, i));
    }
  }
  const Answer answer = state_of(l).server->run(argv);
  push(l, answer);
  return !answer.is_error();
}
int redis_call(lua_State* l) { return run_for(l) ? 1 : lua_error(l); }
int redis_pcall(lua_State* l) {
  static_cast<void>(run_for(l));
  return 1;
}

// struct.pack, as far as it is used: big-endian unsigned numbers of n bytes.
int struct_pack(lua_State* l) {
  const char* format = luaL_checkstring(l, 1);
  char bytes[64];
  std::size_t size = 0;
  for (int argument = 2; *format != '\0'; ++format) {
    if (*format == '>') continue;
    if (*format != 'I') return luaL_error(l, "struct.pack: unknown format");
    const int width = *++format - '0';
    const auto value = static_cast<std::uint64_t>(luaL_checknumber(l, argument++));
    for (int i = width - 1; i >= 0; --i) bytes[size++] = static_cast<char>(i < 8 ? value >> (8 * i) : 0);
  }
  lua_pushlstring(l, bytes, size);
  return 1;
}

void set_global(lua_State* l, const char* name, const std::vector<std::string>& texts) {
  lua_newtable(l);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    lua_pushlstring(l, texts[i].data(), texts[i].size());
    lua_rawseti(l, -2, static_cast<int>(i) + 1);
  }
  lua_setglobal(l, name);
}

}  // namespace

Lua::Lua() : state_(std::make_unique<State>()) {
  lua_State* const l = state_->lua = luaL_newstate();
  luaL_openlibs(l);
  lua_newtable(l);
  for (const auto& [name, function] : {std::pair{"call", &redis_call}, std::pair{"pcall", &redis_pcall}}) {
    lua_pushlightuserdata(l, state_.get());
    lua_pushcclosure(l, function, 1);
    lua_setfield(l, -2, name);
  }
  lua_setglobal(l, "redis");
  lua_newtable(l);
  lua_pushcfunction(l, struct_pack);
  lua_setfield(l, -2, "pack");
  lua_setglobal(l, "struct");
}
Lua::~Lua() { lua_close(state_->lua); }

std::string Lua::load(const std::string& text) {
  std::string sha = l2::sha1_hex(text);
  if (knows(sha)) return sha;
  if (luaL_loadbuffer(state_->lua, text.data(), text.size(), "@user_script") != 0) {
    lua_pop(state_->lua, 1);
    return {};
  }
  state_->compiled[sha] = luaL_ref(state_->lua, LUA_REGISTRYINDEX);
  return sha;
}

bool Lua::knows(std::string_view sha) const { return state_->compiled.contains(std::string(sha)); }

Answer Lua::run(Redis& server, std::string_view sha, const std::vector<std::string>& keys,
                const std::vector<std::string>& arguments) {
  lua_State* const l = state_->lua;
  state_->server = &server;
  set_global(l, "KEYS", keys);
  set_global(l, "ARGV", arguments);
  lua_rawgeti(l, LUA_REGISTRYINDEX, state_->compiled.at(std::string(sha)));
  const bool failed = lua_pcall(l, 0, 1, 0) != 0;
  Answer answer = take(l, -1);
  lua_settop(l, 0);
  // An error of Lua itself is a text, one of a command a table.
  if (failed && answer.type == Answer::Type::string) answer = Answer::error("ERR " + answer.text);
  return answer;
}

}  // namespace tiercache::sim
