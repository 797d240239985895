#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# disassembly_test.sh OBJDUMP TRACER LIBRARY OBJECT
#
# Looks at the machine code that ships. LIBRARY, L1's static library, refers to no lock and no libatomic, and the functions of
# the operations to no allocation by new and no guard of a static. One object is left out, by name: pressure.cpp.o, the guard that
# watches the system's memory from a thread of its own, which sleeps on a condition variable; no other object refers to it, which
# is checked as well. And the instructions that one hit or miss executes, as TRACER
# stepped through them, contain no locked or exchanging access, no fence and no system call, and none lies outside the executable.
# The calls among them may be of the hash and of find's own inline parts, where the compiler left those out of line (they are
# stepped through like the rest); not of anything in the library. Each check is shown to fail, on counter-examples in TRACER
# and OBJECT, its object file.
set -euo pipefail
export LC_ALL=C

objdump="$1" tracer="$2" library="$3" object="$4"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
failures=0
fail() {
  echo "FAILED: $1"
  failures=$((failures + 1))
}

# --- what the library refers to ----------------------------------------------------------------------------------------------

# Prints the undefined symbols of a file, of a library's objects but the one that is left out.
undefined_in() {
  "$objdump" -t "$1" | awk '/file format/ { object = $1 } /\*UND\*/ && object != "pressure.cpp.o:" { print $NF }' | sort -u
}
# Those of them that no lock-free library has.
locks_in() {
  undefined_in "$1" |
    grep -E '^(pthread_(mutex|rwlock|cond|spin|once|barrier)|__gthrw?_|sem_|mtx_|cnd_|__atomic_|futex|__lll_lock|_ZNSt(5mutex|12__.*mutex))' || true
}

# Prints, for each function of the operations, the calls that have no place there; then the number of functions seen.
calls_in_operations() {
  "$objdump" -dr --no-show-raw-insn -C "$1" | awk '
    /^[0-9a-f]+ <.*>:$/ {
      name = $0; sub(/^[0-9a-f]+ </, "", name); sub(/>:$/, "", name)
      hot = name ~ /l1::(Table::(find|visit|put|fill|compare_and_swap|expire|evict|erase|resize|set_quota|reap|probe|touch|ticket|count_|stats|drain)|Core::(store|link|retire|unlinked|reclaim|push_retired|free_memory|count_for_view|set_limits)|Eviction::|Shadows?::|Ghost::|Probation::|Kernel<|Arena::(allocate|free|trim)|Sketch::(add|estimate)|Profile::(accessed|resized|forgotten|hit|push|process|end_turn|State::process)|MissCurve::(access|repeat|resize|remove|lose)|HotKeys::add|detail::HazardScan)/ || name ~ /^traced_/
      # What creates them, and the report of the coldest keys: these allocate.
      if (name ~ /(Eviction|Shadows?|Ghost|Probation)::create|Eviction::coldest/) hot = 0
      if (hot) seen++
      next
    }
    hot && /R_X86_64_(PLT32|PC32|GOTPCREL|GOTPCRELX|REX_GOTPCRELX)/ &&
      /__cxa_guard|__cxa_throw|__cxa_allocate|operator new|[^_a-z](malloc|calloc|realloc|posix_memalign)[-@ ]|pthread_|__atomic_|sem_|futex/ { print name ": " $NF }
    END { print "functions " seen + 0 }'
}

found="$(locks_in "$library")"
[[ -z "$found" ]] || fail "the library refers to: $found"
[[ "$(undefined_in "$library")" != *PressureGuard* ]] || fail "an operation's object refers to the pressure guard"
"$objdump" -t "$library" | grep -c '^pressure.cpp.o:' >/dev/null || fail "there is no pressure.cpp.o to leave out"
symbols="$(undefined_in "$library" | wc -l)"
((symbols > 20)) || fail "only $symbols undefined symbols were seen in the library"
found="$(locks_in "$object")"
[[ "$found" == *pthread_mutex_lock* ]] || fail "the counter-example's mutex was not seen"

found="$(calls_in_operations "$library")"
functions="${found##*functions }"
[[ "$found" == "functions $functions" ]] || fail "calls that have no place in an operation: $found"
((functions >= 50)) || fail "only $functions functions of operations were seen in the library"
found="$(calls_in_operations "$object")"
[[ "$found" == *traced_allocation* && "$found" == *traced_mutex* ]] || fail "the counter-example's calls were not seen: $found"
echo "library: $symbols references, $functions functions of operations: no lock, no libatomic, no allocation by new, no guard"

# --- what a hit executes -----------------------------------------------------------------------------------------------------

"$objdump" -d --no-show-raw-insn -C "$tracer" >"$work/code"
base="$("$objdump" -t "$tracer" | awk '$NF == "__executable_start" { print $1 }')"

allowed_calls='<(XXH|tiercache::local_hash|tiercache::l1::Table::(find|visit|probe|bucket|hash)|tiercache::l1::detail::locate)'

# examine FUNCTION PRESENT RESULT: traces and prints what is wrong with it; the number of instructions goes to $work/count.
examine() {
  "$tracer" "$1" "$2" >"$work/trace" || { echo "it did not run"; return; }
  [[ "$(sed -n 's/^result //p' "$work/trace")" == "$3" ]] || echo "the wrong result"
  [[ "$(sed -n 's/^outside //p' "$work/trace")" == 0 ]] || echo "instructions outside the executable"
  grep -vE '^(result|outside)' "$work/trace" | while read -r at; do printf '%x\n' $((16#$at + 16#$base)); done >"$work/addresses"
  awk -v count_file="$work/count" -v allowed="$allowed_calls" '
    NR == FNR { executed[$1] = 1; wanted++; next }
    /^ *[0-9a-f]+:\t/ {
      address = $1; sub(/:$/, "", address)
      if (!(address in executed)) next
      seen++
      text = $0; sub(/^[^\t]*\t/, "", text)
      if (text ~ /(^| )lock( |$)/ || text ~ /^(xchg|cmpxchg|xadd).*\(/) print "a locked access: " text
      if (text ~ /^(mfence|lfence|sfence|cpuid|syscall|sysenter|int )/) print "a fence or a system call: " text
      if (text ~ /^(call|bnd call)/ && text !~ allowed) print "a call: " text
    }
    END {
      if (seen != wanted) print "only " seen + 0 " of " wanted + 0 " instructions were found in the disassembly"
      print seen + 0 > count_file
    }' "$work/addresses" "$work/code"
}

for what in "find present 42" "find absent 0" "visit present 42" "visit absent 0"; do
  read -r function present result <<<"$what"
  found="$(examine "$function" "$present" "$result")"
  count="$(cat "$work/count")"
  [[ -z "$found" ]] || fail "$function of a key that is $present: $found"
  ((count > 40)) || fail "$function of a key that is $present: only $count instructions"
  echo "$function of a key that is $present: $count instructions, hash included: no locked access, no fence, no system call, no call into the library"
done
for what in "mutex a call" "fence a fence" "atomic a locked access" "allocation instructions outside the executable"; do
  read -r function expected <<<"$what"
  found="$(examine "$function" present 1)"
  [[ "$found" == *"$expected"* ]] || fail "the counter-example '$function' was not seen: $found"
done

((failures == 0)) || exit 1
