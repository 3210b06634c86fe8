// The frame around every page: where one is, in which language and colours, and whether the server answers.
import { ActionIcon, AppShell, Burger, Group, Indicator, Loader, Menu, NavLink, Text, Tooltip, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconBook, IconBox, IconChartAreaLine, IconChartDots, IconHistory, IconKey, IconLanguage, IconMoon, IconStack2, IconSun, IconUsers, IconWand, IconWebhook } from "@tabler/icons-react";
import { lazy, type ReactNode, Suspense, useEffect } from "react";
import { useTranslation } from "react-i18next";
import { Link, Route, Switch, useLocation } from "wouter";
import { useConnected } from "./api/live";
import { LANGUAGES, speak } from "./i18n";
import { KeyDialog } from "./parts/key";
import { Studio } from "./studio/studio";

const Batch = lazy(() => import("./batch/batch").then((page) => ({ default: page.Batch })));
const History = lazy(() => import("./history/history").then((page) => ({ default: page.History })));
const Fleet = lazy(() => import("./fleet/fleet").then((page) => ({ default: page.Fleet })));
const WhatIf = lazy(() => import("./whatif/whatif").then((page) => ({ default: page.WhatIf })));
const Tenants = lazy(() => import("./tenants/tenants").then((page) => ({ default: page.Tenants })));
const Webhooks = lazy(() => import("./webhooks/webhooks").then((page) => ({ default: page.Webhooks })));
const Models = lazy(() => import("./models/models").then((page) => ({ default: page.Models })));

const PAGES: { path: string; name: string; icon: ReactNode }[] = [
  { path: "/", name: "studio", icon: <IconWand size={18} /> },
  { path: "/batch", name: "batch", icon: <IconStack2 size={18} /> },
  { path: "/history", name: "history", icon: <IconHistory size={18} /> },
  { path: "/fleet", name: "fleet", icon: <IconChartAreaLine size={18} /> },
  { path: "/what-if", name: "what-if", icon: <IconChartDots size={18} /> },
  { path: "/models", name: "models", icon: <IconBox size={18} /> },
  { path: "/tenants", name: "tenants", icon: <IconUsers size={18} /> },
  { path: "/webhooks", name: "webhooks", icon: <IconWebhook size={18} /> },
];

export function App() {
  const { t, i18n } = useTranslation();
  const [opened, { toggle, close }] = useDisclosure(false);
  const [keyOpen, key] = useDisclosure(false);
  const [path] = useLocation();
  const page = PAGES.find((each) => each.path === path);
  useEffect(() => {
    document.title = page ? `${t(`nav.${page.name}`)} · Springtide` : "Springtide";
    document.documentElement.lang = i18n.language;
  }, [page, t, i18n.language]);
  useEffect(() => {
    window.addEventListener("springtide:key-wanted", key.open);
    return () => window.removeEventListener("springtide:key-wanted", key.open);
  }, [key]);
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 210, breakpoint: "sm", collapsed: { mobile: !opened } }} padding="lg">
      <AppShell.Header px="md">
        <Group h="100%" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t("nav.menu")} />
            <img src="/assets/icon.svg" alt="" width={28} height={28} />
            <Text fw={700} size="lg">Springtide</Text>
          </Group>
          <Group gap={4} wrap="nowrap">
            <Connection />
            <Tooltip label={t("nav.docs")}><ActionIcon component="a" href="/docs" variant="subtle" color="gray" size="lg" aria-label={t("nav.docs")}><IconBook size={20} /></ActionIcon></Tooltip>
            <Tooltip label={t("key.title")}><ActionIcon variant="subtle" color="gray" size="lg" onClick={key.open} aria-label={t("key.title")}><IconKey size={20} /></ActionIcon></Tooltip>
            <Language />
            <Colours />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="sm" aria-label={t("nav.pages")}>
        {PAGES.map((each) => (
          <NavLink key={each.path} component={Link} href={each.path} label={t(`nav.${each.name}`)} leftSection={each.icon} active={path === each.path} onClick={close} style={{ borderRadius: 8 }} />
        ))}
      </AppShell.Navbar>
      <AppShell.Main>
        <Suspense fallback={<Loader mx="auto" my="xl" display="block" />}>
          <Switch>
            <Route path="/" component={Studio} />
            <Route path="/batch" component={Batch} />
            <Route path="/history" component={History} />
            <Route path="/fleet" component={Fleet} />
            <Route path="/what-if" component={WhatIf} />
            <Route path="/models" component={Models} />
            <Route path="/tenants" component={Tenants} />
            <Route path="/webhooks" component={Webhooks} />
            <Route><Text>{t("nav.nowhere")} <Link href="/">{t("nav.studio")}</Link></Text></Route>
          </Switch>
        </Suspense>
      </AppShell.Main>
      <KeyDialog opened={keyOpen} onClose={key.close} />
    </AppShell>
  );
}

function Connection() {
  const { t } = useTranslation();
  if (useConnected()) return null;
  return <Tooltip label={t("nav.offlineHelp")}><Indicator color="orange" processing position="middle-start" offset={-10}><Text size="xs" c="dimmed" ml="md">{t("nav.offline")}</Text></Indicator></Tooltip>;
}

function Language() {
  const { t, i18n } = useTranslation();
  return (
    <Menu position="bottom-end">
      <Menu.Target><ActionIcon variant="subtle" color="gray" size="lg" aria-label={t("nav.language")}><IconLanguage size={20} /></ActionIcon></Menu.Target>
      <Menu.Dropdown>
        {LANGUAGES.map(([code, name]) => <Menu.Item key={code} lang={code} fw={i18n.language === code ? 700 : 400} onClick={() => speak(code)}>{name}</Menu.Item>)}
      </Menu.Dropdown>
    </Menu>
  );
}

function Colours() {
  const { t } = useTranslation();
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme("light") === "dark";
  return (
    <ActionIcon variant="subtle" color="gray" size="lg" onClick={() => setColorScheme(dark ? "light" : "dark")} aria-label={t(dark ? "nav.light" : "nav.dark")}>
      {dark ? <IconSun size={20} /> : <IconMoon size={20} />}
    </ActionIcon>
  );
}
