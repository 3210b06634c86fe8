// What was said, under its sound: the word that is heard is marked, a click on a word goes there.
import { Paper, Stack, Text } from "@mantine/core";
import { Fragment, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

type Word = { word: string; start_s: number; end_s: number };
export type Segment = { id: number; start_s: number; end_s: number; text: string; words?: Word[] | null };

export function Transcript({ segments, text, sound }: { segments: Segment[]; text: string; sound: string | null }) {
  const { t } = useTranslation();
  const player = useRef<HTMLAudioElement>(null);
  const [now_s, setNow] = useState(-1);
  const go = (at_s: number) => {
    if (!player.current) return;
    player.current.currentTime = at_s;
    void player.current.play();
  };
  if (segments.length === 0) return <Text c="dimmed">{text || t("result.nothingSaid")}</Text>;
  return (
    <Stack gap="sm">
      {sound && <audio ref={player} src={sound} controls style={{ width: "100%" }} onTimeUpdate={(event) => setNow(event.currentTarget.currentTime)} />}
      <Paper withBorder p="md" mah="40vh" style={{ overflowY: "auto", lineHeight: 1.8 }} tabIndex={0} aria-label={t("result.transcript")}>
        {segments.map((segment) => (
          <span key={segment.id}>
            {wordsOf(segment).map((word, place) => (
              <Fragment key={place}>
                {word.before}
                <button type="button" className="word" disabled={!sound} title={clock(word.start_s)} data-said={now_s >= word.start_s && now_s < word.end_s} onClick={() => go(word.start_s)}>
                  {word.word}
                </button>
              </Fragment>
            ))}{" "}
          </span>
        ))}
      </Paper>
    </Stack>
  );
}

/** The words where they stand in the text: what is between them, a space or nothing, is the language's own. */
function wordsOf(segment: Segment): (Word & { before: string })[] {
  if (!segment.words?.length) return [{ word: segment.text, start_s: segment.start_s, end_s: segment.end_s, before: "" }];
  let end = 0;
  return segment.words.map((word) => {
    const place = segment.text.indexOf(word.word, end);
    const before = place < 0 ? " " : segment.text.slice(end, place);
    if (place >= 0) end = place + word.word.length;
    return { ...word, before };
  });
}

function clock(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
}
