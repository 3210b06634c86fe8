// Before and after on top of each other, with a line between them to drag; by keyboard as a slider.
import { Box } from "@mantine/core";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";

export function Compare({ before, after }: { before: string; after: string }) {
  const { t } = useTranslation();
  const [share, setShare] = useState(50);
  const frame = useRef<HTMLDivElement>(null);
  const drag = (event: React.PointerEvent) => {
    const box = frame.current?.getBoundingClientRect();
    if (box && event.buttons) setShare(Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100)));
  };
  const step = (event: React.KeyboardEvent) => {
    const moves: Record<string, number> = { ArrowLeft: -5, ArrowRight: 5, Home: -100, End: 100 };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    setShare((now) => Math.min(100, Math.max(0, now + move)));
  };
  return (
    <Box ref={frame} pos="relative" w="fit-content" maw="100%" mx="auto" style={{ touchAction: "pan-y", userSelect: "none", cursor: "ew-resize" }} onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); drag(event); }} onPointerMove={drag}>
      <img className="checkerboard" src={after} alt={t("result.after")} draggable={false} style={{ display: "block", maxWidth: "100%", maxHeight: "60vh", borderRadius: 8, clipPath: "inset(0)" }} />
      <img src={before} alt={t("result.before")} draggable={false} style={{ position: "absolute", inset: 0, width: "100%", height: "100%", objectFit: "fill", borderRadius: 8, clipPath: `inset(0 ${100 - share}% 0 0)` }} />
      <Box pos="absolute" top={0} bottom={0} w={3} bg="white" style={{ left: `${share}%`, transform: "translateX(-50%)", boxShadow: "0 0 4px #0008" }} />
      <Box
        role="slider"
        tabIndex={0}
        aria-label={t("result.compare")}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(share)}
        onKeyDown={step}
        pos="absolute"
        top="50%"
        w={34}
        h={34}
        bg="white"
        c="dark"
        style={{ left: `${share}%`, transform: "translate(-50%, -50%)", borderRadius: "50%", boxShadow: "0 1px 6px #0006", display: "grid", placeItems: "center", fontSize: 13 }}
      >
        ◂▸
      </Box>
    </Box>
  );
}
